//! landfall-manifest
