//! Names of an environment and its resources.
use landfall_model::app::App;
use landfall_model::environment::{EnvironmentKey, EnvironmentNames};

/// All names of the environment `key`.
pub fn environment_names(app: &App, key: &EnvironmentKey) -> EnvironmentNames {
    hashed_names(app, key)
}

/// The names with a hash, used where the plain ones are taken by another key.
pub fn hashed_names(_app: &App, _key: &EnvironmentKey) -> EnvironmentNames {
    EnvironmentNames {
        base: String::new(),
        host_label: String::new(),
        target_group: String::new(),
        service: String::new(),
        family: String::new(),
    }
}
