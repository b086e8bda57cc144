//! A registry of the test's own.

use landfall_registry::Reference;
pub(crate) use landfall_testkit::registry::Registry;

pub(crate) fn reference(port: u16, name: &str) -> Reference {
    Reference::parse(&format!("127.0.0.1:{port}/{name}")).unwrap()
}
