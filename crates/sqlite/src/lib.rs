//! landfall-sqlite
