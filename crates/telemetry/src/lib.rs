//! landfall-telemetry
