//! One object that its writers replace as a whole: the last one stays. For what is only worth something to who reads it next.

use bytes::Bytes;

use crate::address::Address;
use crate::backoff::Backoff;
use crate::client::{Client, Failure, Got, If, PATIENCE, Put};

pub struct Document {
    client: Client,
    name: String,
}

impl Document {
    /// Nothing is asked of S3 yet. `name`: below the address.
    ///
    /// # Errors
    /// The endpoint that the environment names is none.
    pub async fn at(address: Address, name: String) -> Result<Self, Failure> {
        Ok(Self { client: Client::connect(address, None).await?, name })
    }

    /// `None`: it is not there.
    ///
    /// # Errors
    /// S3 failed.
    pub async fn read(&self) -> Result<Option<Bytes>, Failure> {
        Ok(match self.client.get(&self.name, None).await? {
            Got::Found { body, .. } => Some(body),
            Got::Same | Got::Missing => None,
        })
    }

    /// # Errors
    /// S3 failed. It may have happened.
    pub async fn replace(&self, body: Bytes) -> Result<(), Failure> {
        let mut backoff = Backoff::new(PATIENCE);
        loop {
            match self.client.put(&self.name, body.clone(), If::Anyway).await? {
                Put::Done { .. } => return Ok(()),
                // 409: somebody else writes at the same moment.
                Put::Lost if backoff.wait().await => {}
                Put::Unknown(_) if backoff.wait().await => {}
                Put::Lost => return Err(Failure::Unavailable(format!("{}: others write it all the time", self.name))),
                Put::Unknown(why) => return Err(Failure::Unavailable(why)),
            }
        }
    }

    /// Gone is fine.
    ///
    /// # Errors
    /// It may still be there.
    pub async fn remove(&self) -> Result<(), Failure> {
        self.client.delete(&self.name).await
    }
}
