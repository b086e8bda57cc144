//! landfall-github
