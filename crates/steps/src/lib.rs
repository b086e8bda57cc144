//! landfall-steps
