//! The simulator: what is claimed in docs/clusters.md holds for days nobody has picked.

use landfall_scaler::cluster::Policy;
use landfall_scaler::price::{Prices, Purchase};
use landfall_scaler::simulate::{Generator, Options, Outcome, Trace, Who, simulate, svg};
use proptest::prelude::*;

fn options(seed: u64) -> Options {
    let instance_type = Prices::embedded().unwrap().get("m5.large").unwrap().clone();
    Options { instance_type, purchase: Purchase::Spot, boot: 90, max: 200, seed, policy: Policy::default() }
}

fn run(trace: &Trace, who: Who, seed: u64) -> Outcome {
    simulate(trace, who, &options(seed))
}

#[test]
fn a_fifth_of_managed_scalings_waiting_no_more_hours_and_nobody_killed() {
    for generator in Generator::ALL {
        for seed in 11..14 {
            let trace = generator.trace(seed);
            let (own, managed) = (run(&trace, Who::Landfall, seed), run(&trace, Who::Managed, seed));
            assert_eq!((own.killed_undrained, own.never_placed), (0, 0), "{own:?}");
            assert!(5 * own.beyond_boot <= managed.beyond_boot, "{own:?}\n{managed:?}");
            // Under interruptions successors overlap with those that still have their two minutes.
            assert!(own.instance_hours <= 1.02 * managed.instance_hours, "{own:?}\n{managed:?}");
            if generator == Generator::Batch {
                assert!(own.instance_hours <= 0.8 * managed.instance_hours, "{own:?}\n{managed:?}");
            }
        }
    }
}

#[test]
fn the_same_seed_is_the_same_day_and_csv_keeps_it() {
    for generator in Generator::ALL {
        let trace = generator.trace(7);
        assert_eq!(trace, generator.trace(7));
        assert_ne!(trace, generator.trace(8));
        assert_eq!(Trace::parse(generator.name(), &trace.csv()).unwrap(), trace);
    }
}

#[test]
fn a_trace_ends_where_it_says_or_an_hour_after_all_is_over() {
    let seconds = |text: &str| Trace::parse("t", text).unwrap().seconds;
    let rows = "0,service,web,4,256,512\n100,task,job,1,256,512,900\n";
    assert_eq!(
        (seconds(rows), seconds(&format!("500,end\n{rows}")), seconds(&format!("{rows}9000,end,,,,,"))),
        (4_600, 500, 9_000)
    );
    let trace = Trace::parse("t", &format!("{rows}7200,end")).unwrap();
    let outcome = run(&trace, Who::Landfall, 1);
    assert_eq!(outcome.samples.last().unwrap().second, 7_200);
    assert_eq!(outcome, run(&Trace::parse("t", &trace.csv()).unwrap(), Who::Landfall, 1));
}

#[test]
fn managed_scaling_keeps_to_its_published_rules() {
    // From nothing two instances, a minute later what is missing beside them; each m5.large takes two of these.
    let trace = Trace::parse("steps", "30,service,web,10,1024,1024\n40000,service,web,10,1024,1024").unwrap();
    let outcome = run(&trace, Who::Managed, 1);
    let at = |second: u64| outcome.samples.iter().rev().find(|sample| sample.second <= second).unwrap().instances;
    assert_eq!((at(20), at(100), at(180), at(1_000)), (0, 2, 5, 5));
    // One that replaces an interrupted one and warms up holds nothing up: at 790 s four more, at 850 s an instance for
    // those two that it has no room for.
    let text = "0,service,web,10,1024,1024\n600,interrupt,,20\n790,service,web,14,1024,1024\n4800,deploy,web";
    let outcome = run(&Trace::parse("storm", text).unwrap(), Who::Managed, 1);
    let at = |second: u64| outcome.samples.iter().rev().find(|sample| sample.second <= second).unwrap().instances;
    assert_eq!((at(590), at(640), at(800), at(870)), (5, 6, 6, 7));
    // Empty ones stay fifteen minutes and more, and then go by halves.
    let trace =
        Trace::parse("in", "0,service,web,10,1024,1024\n3600,service,web,0,1024,1024\n9000,service,web,0,1,1").unwrap();
    let outcome = run(&trace, Who::Managed, 1);
    let at = |second: u64| outcome.samples.iter().rev().find(|sample| sample.second <= second).unwrap().instances;
    assert_eq!((at(3_600 + 13 * 60), at(3_600 + 25 * 60)), (5, 0));
}

#[test]
fn nobody_starts_from_nothing_and_what_is_there_at_first_does_not_count() {
    let trace = Trace::parse("steady", "0,service,web,10,1024,1024\n3600,service,web,10,1024,1024").unwrap();
    for who in Who::ALL {
        let outcome = run(&trace, who, 1);
        assert_eq!((outcome.tasks, outcome.beyond_boot, outcome.launches), (0, 0, 0), "{outcome:?}");
        let (first, last) = (outcome.samples.first().unwrap(), outcome.samples.last().unwrap());
        assert!(first.instances >= 5 && (first.second, last.second) == (0, 7_200), "{outcome:?}");
        assert_eq!(outcome.instance_hours, 2.0 * first.instances as f64, "{outcome:?}");
    }
}

#[test]
fn the_original_never_starts_standalone_tasks_that_have_no_room_and_kills_what_runs() {
    let trace = Trace::parse("batch", "0,task,job,40,1024,1024,600").unwrap();
    assert_eq!(run(&trace, Who::Original, 1).never_placed, 40);
    assert_eq!(run(&trace, Who::Landfall, 1).never_placed, 0);
    let storm = Generator::Diurnal.trace(1);
    assert!(run(&storm, Who::Original, 1).killed_undrained > 0);
}

#[test]
fn landfall_goes_to_zero_when_idle_and_the_plot_has_all_of_it() {
    let trace = Trace::parse("in & out", "0,service,web,9,512,512\n1800,service,web,0,512,512").unwrap();
    let outcome = run(&trace, Who::Landfall, 1);
    let at = |second: u64| outcome.samples.iter().rev().find(|sample| sample.second <= second).unwrap().instances;
    assert!(at(1_700) >= 3 && at(2_400) == 0, "{:?}", outcome.samples);
    let plot = svg(&trace.name, &[outcome]);
    assert!(plot.contains("in &amp; out") && plot.contains("instances") && plot.ends_with("</svg>\n"));
}

#[test]
fn a_trace_that_cannot_be_read_says_where() {
    for (text, why) in [
        ("", "no events"),
        ("0,service,web,4,256", "line 1: memory is ``"),
        ("# a remark\n0,sevrice,web,4,256,512", "line 2: `sevrice`"),
        ("0,service,,4,256,512", "no name"),
        ("0,task,a,99999999,1,1,1", "10000 is the most"),
        ("0,interrupt,,101", "101 per cent"),
        ("0,service,web,1,1,1\n\n5,deploy,api", "line 3: no service is called `api`"),
        ("99999999999,deploy,web", "31 days"),
        ("-1,deploy,web", "second is `-1`"),
        (
            "0,service,web,1,1,1\n500,end\n501,service,web,2,1,1",
            "line 2: it ends at second 500, and something happens at 501",
        ),
        ("0,service,web,1,1,1\n99999999999,end", "31 days"),
        ("500,end", "no events"),
        ("0,service,web,1,1,1\n500,end\n600,end", "line 3: a second end"),
    ] {
        let error = Trace::parse("t", text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_read_is_simulated(
        rows in prop::collection::vec((0..7_000u64, 0..5usize, 0..30u64, 1..5_000u64, 1..20_000u64), 1..12),
        max in 1..20u64,
        end in prop::option::of(7_000..20_000u64),
    ) {
        let mut text = "0,service,web,1,256,256\n".to_owned();
        for (second, what, count, cpu, memory) in rows {
            text += &match what {
                0 => format!("{second},service,web,{count},{cpu},{memory}\n"),
                1 => format!("{second},task,job,{count},{cpu},{memory},{}\n", cpu % 900),
                2 => format!("{second},deploy,web\n"),
                3 => format!("{second},interrupt,,{count}\n"),
                _ => format!("{second},rebalance,,{count}\n"),
            };
        }
        text += &end.map(|end| format!("{end},end\n")).unwrap_or_default();
        let trace = Trace::parse("any", &text).unwrap();
        prop_assert_eq!(&Trace::parse("any", &trace.csv()).unwrap(), &trace);
        for who in Who::ALL {
            let outcome = simulate(&trace, who, &Options { max, ..options(1) });
            prop_assert!(outcome.samples.iter().all(|sample| sample.instances <= max));
            prop_assert!(outcome.utilisation <= 1.0);
            if who == Who::Landfall {
                prop_assert_eq!(outcome.killed_undrained, 0);
            }
        }
    }
}
