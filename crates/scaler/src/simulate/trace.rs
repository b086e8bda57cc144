//! Workload traces: what is asked of a cluster, and what is done to it, second by second. As CSV:
//!
//! ```text
//! second,what,name,count,cpu,memory,duration
//! 0,service,web,4,256,512,
//! 600,task,report,20,1024,2048,900
//! 3600,deploy,web,,,,
//! 7200,interrupt,,30,,,
//! 9000,rebalance,,30,,,
//! 86400,end,,,,,
//! ```
//!
//! `service`: it wants `count` tasks from then on. `task`: so many standalone ones that run `duration` seconds. `deploy`: every task of a
//! service is replaced, a new one first. `interrupt`: `count` per cent of the instances get the notice of two minutes, also of those
//! that are bought on demand. `rebalance`: so many are recommended for rebalancing, and interrupted ten minutes later where they are
//! still there. `end`: nothing counts after this; without it a trace ends an hour after its last event, or after the last task that
//! it starts. Columns that mean nothing for a row are empty, or left out at its end. Lines that begin with `#` are remarks.

use std::fmt::Write as _;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// From the trace's beginning.
    pub second: u64,
    pub what: What,
}

impl Event {
    /// When all that it asks for is over, were it done at once.
    fn ends(&self) -> u64 {
        match self.what {
            What::Task { seconds, .. } => self.second.saturating_add(seconds),
            _ => self.second,
        }
    }
}

/// Shapes in CPU units and MiB; a standalone task runs for `seconds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Service { name: String, count: u64, cpu: u64, memory: u64 },
    Task { name: String, count: u64, cpu: u64, memory: u64, seconds: u64 },
    Deploy { name: String },
    Interrupt { percent: u64 },
    Rebalance { percent: u64 },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    pub name: String,
    /// In the order of their seconds.
    pub events: Vec<Event>,
    /// The second in which it ends.
    pub seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TraceError {
    pub line: usize,
    pub what: String,
}

const HEADER: &str = "second,what,name,count,cpu,memory,duration";
/// A trace goes on after its last event, so that what it asked for can run.
const AFTER: u64 = 3600;
/// Tasks of a row.
const MOST: u64 = 10_000;
/// 31 days.
const LONGEST: u64 = 31 * 86_400;

impl Trace {
    /// From CSV.
    pub fn parse(name: &str, text: &str) -> Result<Self, TraceError> {
        let (mut events, mut lines, mut end) = (Vec::new(), Vec::new(), None);
        for (index, row) in text.lines().enumerate() {
            let (row, line) = (row.trim(), index + 1);
            if row.is_empty() || row.starts_with('#') || row.starts_with("second,") {
                continue;
            }
            match read(row).map_err(|what| TraceError { line, what })? {
                Row::Event(event) => {
                    events.push(event);
                    lines.push(line);
                }
                Row::End(_) if end.is_some() => return Err(TraceError { line, what: "a second end".to_owned() }),
                Row::End(second) => end = Some((second, line)),
            }
        }
        if events.is_empty() {
            return Err(TraceError { line: 1, what: format!("no events; a trace has rows of {HEADER}") });
        }
        known(&events, &lines)?;
        let trace = Self::new(name, events);
        match (end, trace.events.last()) {
            (Some((end, line)), Some(Event { second, .. })) if end < *second => {
                Err(TraceError { line, what: format!("it ends at second {end}, and something happens at {second}") })
            }
            (Some((seconds, _)), _) => Ok(Self { seconds, ..trace }),
            (None, _) => Ok(trace),
        }
    }

    pub(crate) fn new(name: &str, mut events: Vec<Event>) -> Self {
        events.sort_by_key(|event| event.second);
        let seconds = events.iter().map(Event::ends).max().unwrap_or(0) + AFTER;
        Self { name: name.to_owned(), events, seconds }
    }

    pub fn csv(&self) -> String {
        let mut out = format!("{HEADER}\n");
        for Event { second, what } in &self.events {
            let _ = match what {
                What::Service { name, count, cpu, memory } => {
                    writeln!(out, "{second},service,{name},{count},{cpu},{memory},")
                }
                What::Task { name, count, cpu, memory, seconds } => {
                    writeln!(out, "{second},task,{name},{count},{cpu},{memory},{seconds}")
                }
                What::Deploy { name } => writeln!(out, "{second},deploy,{name},,,,"),
                What::Interrupt { percent } => writeln!(out, "{second},interrupt,,{percent},,,"),
                What::Rebalance { percent } => writeln!(out, "{second},rebalance,,{percent},,,"),
            };
        }
        let _ = writeln!(out, "{},end,,,,,", self.seconds);
        out
    }
}

enum Row {
    Event(Event),
    End(u64),
}

fn read(row: &str) -> Result<Row, String> {
    let fields: Vec<&str> = row.split(',').map(str::trim).collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    let number = |at: usize, what: &str| {
        field(at).parse::<u64>().map_err(|_| format!("{what} is `{}`, and not a whole number", field(at)))
    };
    let name = || match field(2) {
        "" => Err("no name".to_owned()),
        name => Ok(name.to_owned()),
    };
    let count = || match number(3, "count")? {
        many if many > MOST => Err(format!("count is {many}; {MOST} is the most")),
        count => Ok(count),
    };
    let percent = || match number(3, "count")? {
        more if more > 100 => Err(format!("{more} per cent")),
        percent => Ok(percent),
    };
    let second = number(0, "second")?;
    let within = |end: u64| match end > LONGEST {
        true => Err(format!("{end} is more seconds than 31 days have")),
        false => Ok(()),
    };
    let what = match field(1) {
        "end" => return within(second).map(|()| Row::End(second)),
        "service" => {
            What::Service { name: name()?, count: count()?, cpu: number(4, "cpu")?, memory: number(5, "memory")? }
        }
        "task" => What::Task {
            name: name()?,
            count: count()?,
            cpu: number(4, "cpu")?,
            memory: number(5, "memory")?,
            seconds: number(6, "duration")?,
        },
        "deploy" => What::Deploy { name: name()? },
        "interrupt" => What::Interrupt { percent: percent()? },
        "rebalance" => What::Rebalance { percent: percent()? },
        other => return Err(format!("`{other}` is none of service, task, deploy, interrupt, rebalance, end")),
    };
    let event = Event { second, what };
    within(event.ends())?;
    Ok(Row::Event(event))
}

/// A deployment is of a service that there is.
fn known(events: &[Event], lines: &[usize]) -> Result<(), TraceError> {
    for (event, line) in events.iter().zip(lines) {
        if let What::Deploy { name } = &event.what {
            let service = |event: &Event| matches!(&event.what, What::Service { name: own, .. } if own == name);
            if !events.iter().any(service) {
                return Err(TraceError { line: *line, what: format!("no service is called `{name}`") });
            }
        }
    }
    Ok(())
}
