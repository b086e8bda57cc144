//! landfall-notify
