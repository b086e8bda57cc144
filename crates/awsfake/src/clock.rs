//! Virtual time from the real one: at its pace, faster, or only when a test says so.

use serde::{Deserialize, Serialize};

use crate::world::Millis;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Clock {
    wall: Millis,
    base: Millis,
    /// Virtual milliseconds per real one; 0: time stands until it is advanced.
    scale: f64,
}

impl Clock {
    pub(crate) fn new(wall: Millis, scale: f64) -> Self {
        Self { wall, base: wall, scale }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds"
    )]
    pub(crate) fn now(&self, wall: Millis) -> Millis {
        self.base + (wall.saturating_sub(self.wall) as f64 * self.scale) as Millis
    }

    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    pub(crate) fn set_scale(&mut self, wall: Millis, scale: f64) {
        *self = Self { wall, base: self.now(wall), scale };
    }

    pub(crate) fn advance(&mut self, by: Millis) {
        self.base += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_pace_is_no_jump() {
        let mut clock = Clock::new(1_000, 1.0);
        assert_eq!(clock.now(1_500), 1_500);
        clock.set_scale(1_500, 10.0);
        assert_eq!(clock.now(1_500), 1_500);
        assert_eq!(clock.now(1_600), 2_500);
        clock.set_scale(1_600, 0.0);
        assert_eq!(clock.now(9_000), 2_500);
        clock.advance(60_000);
        assert_eq!(clock.now(9_999), 62_500);
    }
}
