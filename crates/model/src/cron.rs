//! Times that repeat, written as `cron` has them: minute, hour, day of the month, month, day of the week.

use std::fmt;

/// A line of five fields that was checked. Names of months and days are taken in any case; Sunday is 0 or 7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    fields: [String; 5],
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
            field.check(text)?;
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
    fn check(&self, text: &str) -> Result<(), String> {
        for part in text.split(',') {
            let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
            if let Some(step) = step
                && !step.parse::<u32>().is_ok_and(|step| (1..=self.most).contains(&step))
            {
                return Err(format!("{}: `/{step}` is no step", self.name));
            }
            if range == "*" {
                continue;
            }
            let (first, last) = range.split_once('-').map_or((range, None), |(first, last)| (first, Some(last)));
            let first = self.value(first)?;
            if let Some(last) = last
                && self.value(last)? < first
            {
                return Err(format!("{}: `{range}` ends before it begins", self.name));
            }
        }
        Ok(())
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
}
