//! landfall-local
