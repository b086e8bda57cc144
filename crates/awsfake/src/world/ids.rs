//! Ids that look like AWS's and are the same on every run: a world replayed from its calls is the same world.

#[derive(Debug, Clone)]
pub struct Ids {
    state: u64,
}

impl Ids {
    pub fn new(seed: &str) -> Self {
        let state = seed
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self { state }
    }

    /// splitmix64
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// As of a task: 32 hex digits.
    pub fn hex32(&mut self) -> String {
        format!("{:016x}{:016x}", self.draw(), self.draw())
    }

    /// As of a target group.
    pub fn hex16(&mut self) -> String {
        format!("{:016x}", self.draw())
    }

    /// As of a deployment or a service revision: 19 digits.
    pub fn digits19(&mut self) -> String {
        format!("{}", 1_000_000_000_000_000_000 + self.draw() % 8_000_000_000_000_000_000)
    }

    /// As of a service deployment: 21 characters of the URL-safe alphabet.
    pub fn short21(&mut self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..21).map(|_| char::from(ALPHABET[(self.draw() % 64) as usize])).collect()
    }

    pub fn uuid(&mut self) -> String {
        let hex = self.hex32();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}
