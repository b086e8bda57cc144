//! One log of several steps that run at once: one shows its lines as they come, the others' wait until it has ended, so that every
//! group is whole. A group within a group is nothing that a host can show.

use std::collections::VecDeque;

/// What to print next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Open(usize),
    Line(usize, String),
    Close(usize),
}

#[derive(Debug, Default)]
struct Waiting {
    step: usize,
    lines: Vec<String>,
    ended: bool,
}

/// Steps by their place in the flow.
#[derive(Debug, Default)]
pub struct Weave {
    live: Option<usize>,
    waiting: VecDeque<Waiting>,
}

impl Weave {
    pub fn started(&mut self, step: usize) -> Vec<Shown> {
        if self.live.is_none() {
            self.live = Some(step);
            return vec![Shown::Open(step)];
        }
        self.waiting.push_back(Waiting { step, ..Waiting::default() });
        Vec::new()
    }

    pub fn line(&mut self, step: usize, line: String) -> Vec<Shown> {
        if self.live == Some(step) {
            return vec![Shown::Line(step, line)];
        }
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.step == step) {
            waiting.lines.push(line);
        }
        Vec::new()
    }

    /// Those that have ended meanwhile follow whole; then whoever still runs is shown as it goes.
    pub fn ended(&mut self, step: usize) -> Vec<Shown> {
        if self.live != Some(step) {
            if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.step == step) {
                waiting.ended = true;
            }
            return Vec::new();
        }
        let mut out = vec![Shown::Close(step)];
        self.live = None;
        let (ended, running): (VecDeque<_>, VecDeque<_>) = self.waiting.drain(..).partition(|one| one.ended);
        self.waiting = running;
        let whole = |one: Waiting, out: &mut Vec<Shown>| {
            out.push(Shown::Open(one.step));
            out.extend(one.lines.into_iter().map(|line| Shown::Line(one.step, line)));
        };
        for one in ended {
            let step = one.step;
            whole(one, &mut out);
            out.push(Shown::Close(step));
        }
        if let Some(next) = self.waiting.pop_front() {
            self.live = Some(next.step);
            whole(next, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_whole_whatever_the_order_of_ends() {
        let mut weave = Weave::default();
        let line = |text: &str| text.to_owned();
        assert_eq!(weave.started(0), [Shown::Open(0)]);
        assert_eq!(weave.started(1), []);
        assert_eq!(weave.started(2), []);
        assert_eq!(weave.line(1, line("one")), []);
        assert_eq!(weave.line(0, line("zero")), [Shown::Line(0, line("zero"))]);
        assert_eq!(weave.line(2, line("two")), []);
        assert_eq!(weave.ended(2), []);
        assert_eq!(
            weave.ended(0),
            [
                Shown::Close(0),
                Shown::Open(2),
                Shown::Line(2, line("two")),
                Shown::Close(2),
                Shown::Open(1),
                Shown::Line(1, line("one")),
            ]
        );
        assert_eq!(weave.line(1, line("more")), [Shown::Line(1, line("more"))]);
        assert_eq!(weave.ended(1), [Shown::Close(1)]);
    }
}
