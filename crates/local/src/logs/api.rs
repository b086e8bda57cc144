//! A container's log over the engine's API, for those who cannot read the engine's files: what is there and, while the
//! container runs, what follows.
//!
//! The stream can break while the container goes on (the engine is started anew), and then is opened again from the time of
//! the last line. Times are not exact enough to open right after that line, and several lines may share one: what the new
//! stream repeats is counted away. A container may also end just as its stream breaks: after every stream the engine is
//! asked for the container's state, and when it has ended, once more for the rest of its log, without following.

use std::path::Path;
use std::time::Duration;

use landfall_model::Timestamp;

use super::file::Joiner;
use super::follow::{Ended, Out};
use super::{API_IDLE, last_kept};
use crate::core;
use crate::docker::{Docker, DockerResult, LogFrame, LogFrames, Source};

const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A line, or a part of one that is longer than the engine's buffers.
pub(super) struct Piece<'a> {
    /// `None`: not told.
    time: Option<Timestamp>,
    pub text: &'a str,
    /// The line ends with it.
    pub last: bool,
}

/// Of a frame's text: the engine writes each piece's time before it.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    text.split_inclusive('\n').map(|piece| {
        let last = piece.ends_with('\n');
        let piece = piece.trim_end_matches(['\n', '\r']);
        let (time, text) = piece.split_once(' ').unwrap_or((piece, ""));
        match time.parse() {
            Ok(time) => Piece { time: Some(time), text, last },
            Err(_) => Piece { time: None, text: piece, last },
        }
    })
}

pub(super) fn stream(frame: &LogFrame) -> &'static str {
    match frame.source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    }
}

/// How far a log was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The latest time.
    time: Timestamp,
    /// Pieces of that time.
    pieces: usize,
}

impl Place {
    fn then(place: Option<Self>, time: Timestamp) -> Self {
        match place {
            Some(place) if time < place.time => place,
            Some(place) if time == place.time => Self { pieces: place.pieces + 1, ..place },
            _ => Self { time, pieces: 1 },
        }
    }

    /// Engines differ in whether the very second counts.
    fn since(self) -> i64 {
        self.time.as_second() - 1
    }
}

/// What a stream that was opened again repeats.
#[derive(Default)]
struct Repeats {
    until: Option<Place>,
    of_that_time: usize,
}

impl Repeats {
    /// The first piece that is new ends it.
    fn contain(&mut self, time: Timestamp) -> bool {
        let Some(until) = self.until else { return false };
        if time == until.time {
            self.of_that_time += 1;
        }
        let repeated = time < until.time || time == until.time && self.of_that_time <= until.pieces;
        if !repeated {
            self.until = None;
        }
        repeated
    }
}

/// One container, from the last `tail` lines (all: `None`) until it has ended and all is told, or it is gone, or nobody
/// listens. Of one that was gone before anything could be told, the lines that were `kept`.
pub(super) async fn tell(
    docker: &Docker,
    name: &str,
    tail: Option<usize>,
    kept: &Path,
    out: &Out,
) -> Result<(), Ended> {
    let mut teller = Teller { out, joiner: Joiner::default(), place: None };
    let opened_at = core::now();
    let mut opened = false;
    loop {
        let running = match docker.inspect_container(name).await {
            Ok(inspect) => !inspect.state.exited(),
            Err(error) if error.is_not_found() => break,
            // No engine, or one that is confused: whoever supervises the task brings it back.
            Err(_) => {
                tokio::time::sleep(OPEN_AGAIN_AFTER).await;
                continue;
            }
        };
        // Where less than all was asked for and nothing came, nothing from before is asked for now.
        let from = teller.place.or_else(|| (opened && tail.is_some()).then_some(Place { time: opened_at, pieces: 0 }));
        let frames = match from {
            Some(place) => docker.logs_since(name, place.since(), running).await,
            None => docker.logs(name, tail, running).await,
        };
        if let Ok(frames) = frames {
            opened = true;
            if teller.pass(frames, from, running).await? && !running {
                break;
            }
        }
        tokio::time::sleep(OPEN_AGAIN_AFTER).await;
    }
    let unended = teller.joiner.finish();
    let nothing_told = teller.place.is_none() && unended.is_empty();
    out.lines(if nothing_told { last_kept(kept, tail).await } else { unended }).await
}

struct Teller<'a> {
    out: &'a Out,
    joiner: Joiner,
    place: Option<Place>,
}

impl Teller<'_> {
    /// Whether the stream came to its end, and did not break.
    async fn pass(&mut self, mut frames: LogFrames, from: Option<Place>, follow: bool) -> Result<bool, Ended> {
        let mut repeats = Repeats { until: from, of_that_time: 0 };
        loop {
            let frame = match next(&mut frames, follow).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            };
            let text = String::from_utf8_lossy(&frame.bytes);
            for piece in pieces(&text) {
                if let Some(time) = piece.time {
                    if repeats.contain(time) {
                        continue;
                    }
                    self.place = Some(Place::then(self.place, time));
                }
                if let Some(line) = self.joiner.join(stream(&frame), piece.last, piece.text) {
                    self.out.line(line).await?;
                }
            }
        }
    }
}

async fn next(frames: &mut LogFrames, follow: bool) -> DockerResult<Option<LogFrame>> {
    if follow {
        return frames.next().await;
    }
    // An engine that says nothing for so long has said all.
    tokio::time::timeout(API_IDLE, frames.next()).await.unwrap_or(Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, nanosecond: i32) -> Timestamp {
        Timestamp::new(second, nanosecond).unwrap()
    }

    #[test]
    fn pieces_have_their_times_before_them() {
        let text = "2026-11-21T09:29:16.5Z a b\r\n2026-11-21T09:29:16+01:00 \nno time\n2026-11-21T09:29:16Z rest";
        let told: Vec<_> = pieces(text).map(|piece| (piece.time.is_some(), piece.text, piece.last)).collect();
        assert_eq!(told, [(true, "a b", true), (true, "", true), (false, "no time", true), (true, "rest", false)]);
    }

    /// What of `log` is told when the stream breaks after `broken` lines and is opened again.
    fn told_after(log: &[Timestamp], broken: usize) -> Vec<usize> {
        let place = log[..broken].iter().fold(None, |place, time| Some(Place::then(place, *time)));
        let mut repeats = Repeats { until: place, of_that_time: 0 };
        let since = place.map_or(i64::MIN, Place::since);
        let again = log.iter().enumerate().filter(|(_, time)| time.as_second() >= since);
        again.filter(|(_, time)| !repeats.contain(**time)).map(|(n, _)| n).collect()
    }

    #[test]
    fn a_stream_that_was_opened_again_repeats_nothing_and_leaves_nothing_out() {
        // Nanoseconds as Docker has them, and whole seconds as Podman tells them.
        let exact = [at(5, 0), at(9, 1), at(9, 2), at(9, 2), at(9, 3), at(10, 0)];
        let seconds = [at(5, 0), at(9, 0), at(9, 0), at(9, 0), at(9, 0), at(9, 0)];
        for broken in 0..=6 {
            let rest: Vec<usize> = (broken..6).collect();
            assert_eq!(told_after(&exact, broken), rest, "{broken}");
            assert_eq!(told_after(&seconds, broken), rest, "{broken}");
        }
        // Two streams of a container, whose times are not quite in order.
        let crossed = [at(5, 0), at(9, 7), at(9, 6), at(9, 8), at(9, 5)];
        assert_eq!(told_after(&crossed, 3), [3, 4]);
        assert_eq!(told_after(&crossed, 4), [4; 0], "one that is late across the break is taken for repeated");
    }
}
