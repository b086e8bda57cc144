//! What only a look at the whole can tell.
use crate::authored::Manifest;
use crate::diagnostic::Diagnostic;
use crate::tree::At;

pub(crate) fn check(_manifest: &Manifest, _at: At<'_>, _found: &mut Vec<Diagnostic>) {}
