//! What shows from outside that an environment does what it should.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Probes of a lasting environment: `landfall verify ENV --probes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Where to ask; `None`: where the environment is reached.
    pub url: Option<String>,
    /// Seconds until what does not answer rightly has failed.
    pub deadline: u32,
    /// In the order written.
    pub probes: Vec<Probe>,
}

/// One GET, and what its answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub name: String,
    pub path: String,
    /// `200`, `200,202`, `200-299` or a mix.
    pub status: String,
    /// Text that the body contains.
    pub body: Option<String>,
    /// Headers that are there, and text that each contains.
    pub headers: BTreeMap<String, String>,
    /// Milliseconds that the whole answer may take.
    pub within: Option<u32>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            name: "home".to_owned(),
            path: "/".to_owned(),
            status: "200-399".to_owned(),
            body: None,
            headers: BTreeMap::new(),
            within: None,
        }
    }
}

/// Seconds, unless told.
pub const DEADLINE: u32 = 120;

impl Default for Verify {
    fn default() -> Self {
        Self { url: None, deadline: DEADLINE, probes: vec![Probe::default()] }
    }
}
