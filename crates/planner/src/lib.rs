//! landfall-planner
