//! From a forge's event to intents.
use landfall_model::app::App;
use landfall_model::event::{ForgeEvent, Intent};

/// What an event asks for. `why` says in one line why it is this, or why it is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub intents: Vec<Intent>,
    pub why: String,
}

pub fn route(_app: &App, _event: &ForgeEvent) -> Routed {
    Routed { intents: Vec::new(), why: String::new() }
}
