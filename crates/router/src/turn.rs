//! One request and its answer on a connection to a target: which came first.
//!
//! hyper reads before it writes in one poll, and a target may answer before it has read the request (401, 413, 302). So
//! the end of an answer says nothing about the request, and bytes on the socket do not tell one request from the next:
//! the answer and the last chunk of a body can become readable together, and the chunk is then written after the answer
//! was read whole. What happened is therefore recorded where it happens: by whoever sends a request, by its body, and by
//! the socket.

use std::cell::Cell;
use std::rc::Rc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// hyper waits for the body, or for the rest of it.
    Sending,
    /// hyper has the whole request and may still hold some of it.
    Handed,
    /// The whole request is on its way, and nothing was heard.
    Sent,
    /// The answer began after the whole request was sent.
    Answered,
    /// The answer began before that.
    Early,
}

/// Shared by a connection, its socket and the body that it sends.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Rc<Cell<State>>);

impl Turn {
    /// Of a connection that has not been used.
    pub(crate) fn new() -> Self {
        Self(Rc::new(Cell::new(State::Answered)))
    }

    /// A request is about to be sent; `whole` when it has no body.
    pub(crate) fn begin(&self, whole: bool) {
        self.0.set(if whole { State::Handed } else { State::Sending });
    }

    /// hyper has taken the end of the body.
    pub(crate) fn handed(&self) {
        self.step(State::Sending, State::Handed);
    }

    /// Everything that hyper held was written.
    pub(crate) fn flushed(&self) {
        self.step(State::Handed, State::Sent);
    }

    /// Bytes came from the target.
    pub(crate) fn received(&self) {
        match self.0.get() {
            State::Sending | State::Handed => self.0.set(State::Early),
            State::Sent => self.0.set(State::Answered),
            State::Answered | State::Early => {}
        }
    }

    /// Whether nothing was heard since the request began: a target that closed an old connection just then has, as far as
    /// one can know, not read it.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.0.get(), State::Sending | State::Handed | State::Sent)
    }

    /// Whether the connection may carry another request. A target that answers early may be about to close it, or may
    /// take what is left of the body for a request.
    pub(crate) fn is_orderly(&self) -> bool {
        self.0.get() == State::Answered
    }

    fn step(&self, from: State, to: State) {
        if self.0.get() == from {
            self.0.set(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Event {
        Handed,
        Flushed,
        Received,
    }
    use Event::*;

    /// (unanswered, orderly) after these events.
    fn after(whole: bool, events: &[Event]) -> (bool, bool) {
        let turn = Turn::new();
        turn.begin(whole);
        for event in events {
            match event {
                Handed => turn.handed(),
                Flushed => turn.flushed(),
                Received => turn.received(),
            }
        }
        (turn.is_unanswered(), turn.is_orderly())
    }

    #[test]
    fn only_a_request_that_was_sent_whole_before_its_answer_leaves_the_connection_fit_for_another() {
        const LOST: (bool, bool) = (true, false);
        const ORDERLY: (bool, bool) = (false, true);
        const EARLY: (bool, bool) = (false, false);
        assert_eq!(after(true, &[]), LOST);
        assert_eq!(after(true, &[Flushed]), LOST);
        assert_eq!(after(true, &[Flushed, Received, Received, Flushed]), ORDERLY);
        assert_eq!(after(true, &[Received]), EARLY);
        assert_eq!(after(false, &[Flushed, Handed, Flushed]), LOST);
        assert_eq!(after(false, &[Flushed, Handed, Flushed, Received]), ORDERLY);
        // The head was flushed, the body was not yet there, or still with hyper.
        assert_eq!(after(false, &[Flushed, Received, Handed, Flushed]), EARLY);
        assert_eq!(after(false, &[Flushed, Handed, Received, Flushed, Received]), EARLY);
    }

    #[test]
    fn a_request_knows_nothing_of_the_one_before() {
        let turn = Turn::new();
        assert!(turn.is_orderly());
        turn.begin(false);
        turn.received();
        turn.begin(true);
        turn.flushed();
        assert!(turn.is_unanswered());
        turn.received();
        assert!(turn.is_orderly());
    }
}
