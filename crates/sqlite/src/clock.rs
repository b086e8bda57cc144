//! The clock that leases run on. Wall time jumps (NTP, a person, a suspended laptop); boot time only ever advances, and
//! it counts suspension, so a machine that slept does not wake up still holding its leases. Boot time means nothing
//! across a reboot, hence the boot id beside every expiry: a lease of another boot is expired.

use std::fmt;

/// Milliseconds since boot, and which boot. A parameter of the store so that tests move it by hand.
pub trait BootClock: Send + Sync {
    /// Milliseconds since boot, suspension included. Never goes back within one boot.
    fn boot_ms(&self) -> u64;
    /// Differs between any two boots of any machine.
    fn boot_id(&self) -> &str;
}

/// `CLOCK_BOOTTIME` and `/proc/sys/kernel/random/boot_id`.
pub struct SystemBootClock {
    boot_id: String,
}

impl SystemBootClock {
    /// Reads the boot id once. Fails where `/proc` is not mounted.
    pub fn new() -> std::io::Result<Self> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { boot_id })
    }
}

impl BootClock for SystemBootClock {
    fn boot_ms(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(millis)
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

impl fmt::Debug for SystemBootClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemBootClock").field("boot_id", &self.boot_id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_advances_and_names_its_boot() {
        let clock = SystemBootClock::new().unwrap();
        let before = clock.boot_ms();
        assert!(before > 0);
        assert!(clock.boot_ms() >= before);
        assert_eq!(clock.boot_id().len(), 36, "a UUID: {}", clock.boot_id());
    }
}
