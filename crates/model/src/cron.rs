//! Times that repeat, written as `cron` has them: minute, hour, day of the month, month, day of the week.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// A date that never comes (30 February) is looked for this long: leap days are up to eight years apart.
const FAR: i64 = 366 * 9;

/// A line of five fields that was checked. Names of months and days are taken in any case; Sunday is 0 or 7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    fields: [String; 5],
}

/// A one-off task, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub service: String,
    /// Whose command is replaced.
    pub container: String,
    /// Empty: the container's own.
    pub command: Vec<String>,
    /// As [`Cron`] reads it.
    pub cron: String,
    /// `Europe/Berlin`; `None`: UTC.
    pub time_zone: Option<String>,
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of the month", least: 1, most: 31, words: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        words: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    Field { name: "day of the week", least: 0, most: 7, words: &DAYS },
];
const DAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

impl Cron {
    /// # Errors
    /// What is wrong, as a label under the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let given: Vec<&str> = text.split_whitespace().collect();
        let Ok(fields) = <[&str; 5]>::try_from(given.as_slice()) else {
            return Err(format!("five fields, minute hour day month weekday; these are {}", given.len()));
        };
        for (field, text) in FIELDS.iter().zip(fields) {
            text.split(',').try_for_each(|part| field.range(part).map(drop))?;
        }
        if fields[2] != "*" && fields[4] != "*" {
            return Err("either a day of the month or a day of the week: AWS takes no two".to_owned());
        }
        Ok(Self { fields: fields.map(str::to_ascii_uppercase) })
    }

    /// As EventBridge Scheduler and Application Auto Scaling take it: six fields, `?` for the day that is not said, and days of the
    /// week by name, since AWS counts them from 1
    /// (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based>).
    pub fn for_aws(&self) -> String {
        let [minute, hour, day, month, weekday] = &self.fields;
        let (day, weekday) = match weekday.as_str() {
            "*" => (day.as_str(), "?".to_owned()),
            days => ("?", named_days(days)),
        };
        format!("cron({minute} {hour} {day} {month} {weekday} *)")
    }

    /// The first time after `now` that the line names in `zone`. A time that the clocks pass over in spring is left out, one that they show
    /// twice in autumn counts the first time. `None`: there is none, 30 February.
    pub fn after(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let [minutes, hours, days, months, weekdays] = self.values();
        let today = now.to_zoned(zone.clone()).date();
        let named = |date: &Date| {
            let weekday = date.weekday().to_sunday_zero_offset();
            let of = |all: &[u32], one: i8| all.contains(&u32::try_from(one).unwrap_or_default());
            of(&months, date.month())
                && of(&days, date.day())
                && (of(&weekdays, weekday) || weekday == 0 && of(&weekdays, 7))
        };
        for ahead in 0..FAR {
            let date = today.checked_add(Span::new().days(ahead)).ok()?;
            if !named(&date) {
                continue;
            }
            for (hour, minute) in hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (*hour, *minute))) {
                let time = date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
                let time = zone.to_ambiguous_timestamp(time);
                if matches!(time.offset(), AmbiguousOffset::Gap { .. }) {
                    continue;
                }
                match time.earlier() {
                    Ok(time) if time > now => return Some(time),
                    _ => {}
                }
            }
        }
        None
    }

    /// Of each field, in order.
    fn values(&self) -> [Vec<u32>; 5] {
        let mut all = [const { Vec::new() }; 5];
        for ((field, text), values) in FIELDS.iter().zip(&self.fields).zip(&mut all) {
            // The line was checked: every part is a range.
            let ranges: Vec<_> = text.split(',').filter_map(|part| field.range(part).ok()).collect();
            let named = |value: u32| {
                ranges
                    .iter()
                    .any(|(first, last, by)| (*first..=*last).contains(&value) && (value - first).is_multiple_of(*by))
            };
            *values = (field.least..=field.most).filter(|value| named(*value)).collect();
        }
        all
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fields.join(" "))
    }
}

/// Numbers after `/` are steps, no days.
fn named_days(text: &str) -> String {
    let name = |day: &str| day.parse::<usize>().ok().and_then(|day| DAYS.get(day).copied()).unwrap_or(day).to_owned();
    let part = |part: &str| {
        let (days, step) = part.split_once('/').map_or((part, None), |(days, step)| (days, Some(step)));
        let days = days.split('-').map(name).collect::<Vec<_>>().join("-");
        step.map_or(days.clone(), |step| format!("{days}/{step}"))
    };
    text.split(',').map(part).collect::<Vec<_>>().join(",")
}

impl Field {
    /// First, last and step of one part of the list. `5/10`: from 5 on.
    fn range(&self, part: &str) -> Result<(u32, u32, u32), String> {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let no_step = |step: &str| format!("{}: `/{step}` is no step", self.name);
        let by = match step {
            Some(step) => step.parse().ok().filter(|by| (1..=self.most).contains(by)).ok_or_else(|| no_step(step))?,
            None => 1,
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if step.is_some() => (self.value(range)?, self.most),
            None => (self.value(range)?, self.value(range)?),
        };
        if last < first {
            return Err(format!("{}: `{range}` ends before it begins", self.name));
        }
        Ok((first, last, by))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(u32::try_from(at).unwrap_or_default() + u32::from(self.least == 1));
        }
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        number
            .filter(|number| (self.least..=self.most).contains(number))
            .ok_or_else(|| format!("{}: `{text}` is not within {} to {}", self.name, self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_aws_s() {
        for (text, aws) in [
            ("0 3 * * *", "cron(0 3 * * ? *)"),
            ("*/15 8-18 * * 1-5", "cron(*/15 8-18 ? * MON-FRI *)"),
            ("30 2 1,15 * *", "cron(30 2 1,15 * ? *)"),
            ("0 0 * jan-mar sun", "cron(0 0 ? JAN-MAR SUN *)"),
            ("0 0 * * 7,6", "cron(0 0 ? * SUN,SAT *)"),
            ("0 0/2 * * *", "cron(0 0/2 * * ? *)"),
            ("0 0 * * 1-5/2", "cron(0 0 ? * MON-FRI/2 *)"),
        ] {
            assert_eq!(Cron::parse(text).unwrap().for_aws(), aws, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_field() {
        for (text, why) in [
            ("", "five fields"),
            ("0 3 * *", "these are 4"),
            ("60 3 * * *", "minute"),
            ("0 24 * * *", "hour"),
            ("0 0 0 * *", "day of the month"),
            ("0 0 * 13 *", "month"),
            ("0 0 * * 8", "day of the week"),
            ("0 0 * * FOO", "day of the week"),
            ("*/0 * * * *", "no step"),
            ("5-2 * * * *", "ends before"),
            ("0 0 1 * 1", "either a day"),
            ("+5 0 * * *", "minute"),
        ] {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    /// The next three times after `now`, as civil times of `zone`.
    fn next(line: &str, now: &str, zone: &str) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let (cron, mut now) = (Cron::parse(line).unwrap(), now.parse::<Timestamp>().unwrap());
        let mut times = Vec::new();
        for _ in 0..3 {
            let Some(next) = cron.after(now, &zone) else { break };
            assert!(next > now);
            times.push(next.to_zoned(zone.clone()).strftime("%a %F %H:%M %:z").to_string());
            now = next;
        }
        times
    }

    #[test]
    fn times_come_one_after_the_other() {
        for (line, now, times) in [
            (
                "30 2 * * *",
                "2026-11-22T01:29:59Z",
                ["Sun 2026-11-22 02:30", "Mon 2026-11-23 02:30", "Tue 2026-11-24 02:30"],
            ),
            (
                "30 2 * * *",
                "2026-11-22T01:30:00Z",
                ["Mon 2026-11-23 02:30", "Tue 2026-11-24 02:30", "Wed 2026-11-25 02:30"],
            ),
            (
                "*/20 9-10 * * 1-5",
                "2026-11-20T09:30:00Z",
                ["Fri 2026-11-20 10:40", "Mon 2026-11-23 09:00", "Mon 2026-11-23 09:20"],
            ),
            (
                "0 0 29 feb *",
                "2026-11-22T00:00:00Z",
                ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00", "Fri 2036-02-29 00:00"],
            ),
            (
                "0 12 * * 0,sat",
                "2026-11-22T12:00:00Z",
                ["Sat 2026-11-28 12:00", "Sun 2026-11-29 12:00", "Sat 2026-12-05 12:00"],
            ),
            (
                "0 12 * * 7",
                "2026-11-21T12:00:00Z",
                ["Sun 2026-11-22 12:00", "Sun 2026-11-29 12:00", "Sun 2026-12-06 12:00"],
            ),
            (
                "5/25 0 1 */6 *",
                "2026-11-22T12:00:00Z",
                ["Fri 2027-01-01 00:05", "Fri 2027-01-01 00:30", "Fri 2027-01-01 00:55"],
            ),
        ] {
            let found = next(line, now, "Europe/Berlin");
            let found: Vec<&str> = found.iter().map(|time| &time[..20]).collect();
            assert_eq!(found, times, "{line}");
        }
        assert_eq!(next("0 0 30 2 *", "2026-11-22T00:00:00Z", "UTC"), Vec::<String>::new());
    }

    #[test]
    fn clocks_that_change_leave_out_what_they_pass_over_and_repeat_nothing() {
        for (line, now, times) in [
            (
                "30 2 * * *",
                "2026-03-28T00:00:00Z",
                ["Sat 2026-03-28 02:30 +01:00", "Mon 2026-03-30 02:30 +02:00", "Tue 2026-03-31 02:30 +02:00"],
            ),
            (
                "30 2 * * *",
                "2026-10-24T12:00:00Z",
                ["Sun 2026-10-25 02:30 +02:00", "Mon 2026-10-26 02:30 +01:00", "Tue 2026-10-27 02:30 +01:00"],
            ),
            (
                "*/30 2 * * *",
                "2026-10-25T00:10:00Z",
                ["Sun 2026-10-25 02:30 +02:00", "Mon 2026-10-26 02:00 +01:00", "Mon 2026-10-26 02:30 +01:00"],
            ),
        ] {
            assert_eq!(next(line, now, "Europe/Berlin"), times, "{line}");
        }
    }
}
