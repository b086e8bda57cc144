//! Which of the notices due at once are still worth sending.

use std::collections::BTreeMap;

use landfall_model::notice::NoticeKind;
use landfall_ports::store::OutboxRow;

/// Splits rows that are due together into those to send, in order, and those that a later one of the same target and
/// environment has overtaken.
pub(crate) fn coalesce(rows: Vec<OutboxRow>) -> (Vec<OutboxRow>, Vec<u64>) {
    let mut newest: BTreeMap<(String, String), u64> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_state(row.notice.kind)) {
        newest.insert((row.target.clone(), row.notice.environment.to_string()), row.seq);
    }
    let overtaken = |row: &OutboxRow| {
        let key = (row.target.clone(), row.notice.environment.to_string());
        is_passing(row.notice.kind) && newest.get(&key).is_some_and(|seq| *seq > row.seq)
    };
    let (old, send): (Vec<_>, Vec<_>) = rows.into_iter().partition(overtaken);
    (send, old.into_iter().map(|row| row.seq).collect())
}

/// Says where the environment stands.
fn is_state(kind: NoticeKind) -> bool {
    !matches!(kind, NoticeKind::Warning)
}

/// Says something that the next state makes uninteresting. Endings and what needs a person are not passing.
fn is_passing(kind: NoticeKind) -> bool {
    matches!(
        kind,
        NoticeKind::Queued
            | NoticeKind::Creating
            | NoticeKind::Updating
            | NoticeKind::Destroying
            | NoticeKind::Deploying
            | NoticeKind::Superseded
    )
}

#[cfg(test)]
mod tests {
    use landfall_model::Timestamp;
    use landfall_model::notice::Notice;

    use super::*;

    fn row(seq: u64, target: &str, environment: &str, kind: NoticeKind) -> OutboxRow {
        let notice = Notice {
            id: format!("n{seq}"),
            kind,
            environment: environment.into(),
            execution: None,
            text: String::new(),
            url: None,
            cause: None,
            at: Timestamp::UNIX_EPOCH,
            links: None,
            to: Vec::new(),
        };
        OutboxRow { seq, notice, target: target.to_owned(), attempts: 0 }
    }

    fn seqs(rows: &[OutboxRow]) -> Vec<u64> {
        rows.iter().map(|row| row.seq).collect()
    }

    #[test]
    fn an_overtaken_state_is_not_told() {
        let rows = vec![
            row(1, "slack", "a", NoticeKind::Creating),
            row(2, "slack", "b", NoticeKind::Creating),
            row(3, "slack", "a", NoticeKind::Created),
            row(4, "log", "a", NoticeKind::Updating),
        ];
        let (send, old) = coalesce(rows);
        assert_eq!((seqs(&send), old), (vec![2, 3, 4], vec![1]));
    }

    #[test]
    fn failures_warnings_and_endings_are_always_told() {
        let kinds = [
            NoticeKind::Failed,
            NoticeKind::RolledBack,
            NoticeKind::Paused,
            NoticeKind::Warning,
            NoticeKind::Created,
            NoticeKind::Destroyed,
        ];
        let mut rows: Vec<_> = (1..).zip(kinds).map(|(seq, kind)| row(seq, "slack", "a", kind)).collect();
        rows.push(row(9, "slack", "a", NoticeKind::Updating));
        let (send, old) = coalesce(rows);
        assert_eq!((seqs(&send), old), (vec![1, 2, 3, 4, 5, 6, 9], vec![]));
    }
}
