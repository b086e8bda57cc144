//! How large a task may be: Fargate's pairs of cpu and memory, and whether its containers fit.

use super::Checker;
use landfall_model::task::LaunchType;

use crate::authored::{Container, Service};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::tree::At;

/// Fargate's sizes: cpu units, least and most MiB, and the step between.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html>
const FARGATE: [(u32, u32, u32, u32); 7] = [
    (256, 512, 2_048, 1_024),
    (512, 1_024, 4_096, 1_024),
    (1_024, 2_048, 8_192, 1_024),
    (2_048, 4_096, 16_384, 1_024),
    (4_096, 8_192, 30_720, 1_024),
    (8_192, 16_384, 61_440, 4_096),
    (16_384, 32_768, 122_880, 8_192),
];

/// The legal memory sizes for these cpu units; empty when the units themselves are not legal.
fn fargate_memory(cpu: u32) -> Vec<u32> {
    match FARGATE.iter().find(|(units, ..)| *units == cpu) {
        // The smallest size begins with half a GiB and goes on in whole ones.
        Some((256, ..)) => vec![512, 1_024, 2_048],
        Some((_, least, most, step)) => (*least..=*most).step_by(*step as usize).collect(),
        None => Vec::new(),
    }
}

impl Checker<'_, '_> {
    pub(super) fn task_size(&mut self, service: &Service, at: At<'_>) {
        let (cpu_at, memory_at) = (at.get("cpu"), at.get("memory"));
        if service.launch_type == LaunchType::Fargate {
            match (service.cpu, service.memory) {
                (Some(cpu), memory) if fargate_memory(cpu).is_empty() => {
                    let legal: Vec<_> = FARGATE.iter().map(|(units, ..)| *units).collect();
                    let near = legal.iter().copied().find(|units| *units >= cpu).unwrap_or(16_384);
                    let list = legal.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                    let error =
                        Diagnostic::error(codes::FARGATE_SIZE, format!("Fargate has no size of {cpu} CPU units"))
                            .label(cpu_at.span(), format!("not one of {list}"))
                            .help(match cpu {
                                1..=16 => format!("1024 units are one vCPU: use {}", cpu * 1_024),
                                _ => format!("use {near}, or `launch_type: local` if this never runs on Fargate"),
                            });
                    self.push(if memory.is_some() {
                        error.label(memory_at.key_span(), "with this memory")
                    } else {
                        error
                    });
                }
                (Some(cpu), Some(memory)) => {
                    let legal = fargate_memory(cpu);
                    if !legal.contains(&memory) {
                        let near = legal.iter().copied().find(|mib| *mib >= memory);
                        let range = match legal.as_slice() {
                            [512, ..] => "512, 1024 or 2048".to_owned(),
                            [least, next, ..] => {
                                let most = legal.last().unwrap_or(next);
                                format!("{least} to {most} in steps of {}", next - least)
                            }
                            _ => String::new(),
                        };
                        let message = format!("Fargate has no size of {cpu} CPU units with {memory} MiB");
                        let larger =
                            FARGATE.iter().find(|(units, ..)| *units > cpu && fargate_memory(*units).contains(&memory));
                        let help = match (near, larger) {
                            (Some(near), _) => format!("use {near} MiB"),
                            (None, Some((units, ..))) => format!("use {units} CPU units for that much memory"),
                            (None, None) => format!("use at most {} MiB", legal.last().unwrap_or(&0)),
                        };
                        let error = Diagnostic::error(codes::FARGATE_SIZE, message)
                            .label(memory_at.span(), format!("must be {range}"))
                            .label(cpu_at.span(), "with these CPU units")
                            .help(help);
                        self.push(error);
                    }
                }
                // The base task definition may have the other.
                (Some(_), None) | (None, Some(_)) if at.get("base_task_definition").is_given() => {}
                (Some(cpu), None) if !memory_at.is_given() => {
                    let least = fargate_memory(cpu).first().copied().unwrap_or(512);
                    let error = Diagnostic::error(codes::FARGATE_SIZE, "on Fargate, `cpu` needs `memory` beside it")
                        .label(cpu_at.key_span(), "without `memory`")
                        .help(format!("add `memory: {least}`, the least for {cpu} CPU units"));
                    self.push(error);
                }
                (None, Some(memory)) if !cpu_at.is_given() => {
                    let units = FARGATE.iter().find(|(units, ..)| fargate_memory(*units).contains(&memory));
                    let error = Diagnostic::error(codes::FARGATE_SIZE, "on Fargate, `memory` needs `cpu` beside it")
                        .label(memory_at.key_span(), "without `cpu`")
                        .maybe_help(units.map(|(units, ..)| format!("add `cpu: {units}`, the least for {memory} MiB")));
                    self.push(error);
                }
                _ => {}
            }
        } else {
            self.number(service.cpu, cpu_at, 128, 196_608);
            self.number(service.memory, memory_at, 6, 4_194_304);
        }
        let memory = |container: &Container| container.memory;
        let cpu = |container: &Container| container.cpu;
        self.sum("memory", "MiB", service, service.memory, memory, at);
        self.sum("cpu", "CPU units", service, service.cpu, cpu, at);
    }

    /// What the containers ask for must fit into the task.
    fn sum(
        &mut self,
        key: &str,
        unit: &str,
        service: &Service,
        limit: Option<u32>,
        of: impl Fn(&Container) -> Option<u32>,
        at: At<'_>,
    ) {
        let Some(limit) = limit else { return };
        let sum: u64 = service.containers.values().filter_map(&of).map(u64::from).sum();
        if sum <= u64::from(limit) {
            return;
        }
        let message = format!("the containers need {sum} {unit}, the task has {limit}");
        let mut error = Diagnostic::error(codes::CONTAINER_SIZE, message).label(at.get(key).span(), "the whole task");
        let containers_at = at.get("containers");
        for (name, _) in service.containers.iter().filter(|(_, container)| of(container).is_some()).take(8) {
            error = error.label(containers_at.get(name).get(key).span(), "");
        }
        self.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fargate_sizes_are_all_of_those_that_aws_lists() {
        let count = |cpu| fargate_memory(cpu).len();
        assert_eq!(fargate_memory(256), [512, 1_024, 2_048]);
        assert_eq!(fargate_memory(512), [1_024, 2_048, 3_072, 4_096]);
        assert_eq!((count(1_024), count(2_048), count(4_096), count(8_192), count(16_384)), (7, 13, 23, 12, 12));
        assert_eq!(fargate_memory(16_384).last(), Some(&122_880));
        assert!(fargate_memory(300).is_empty());
    }
}
