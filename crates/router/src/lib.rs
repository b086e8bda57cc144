//! landfall-router
