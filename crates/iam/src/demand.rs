//! Statements as questions: which actions on which of their resources, and under what conditions our calls would be made.

use crate::policy::Statement;
use crate::table::action;

/// Actions that take the same of a statement's resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    pub actions: Vec<String>,
    /// `*` where the actions take no other.
    pub resources: Vec<String>,
    /// Condition keys and what a call of ours has there.
    pub context: Vec<(String, Vec<String>)>,
}

impl Statement {
    /// A statement may hold resources of several kinds, and each of its actions takes some of them.
    pub fn demands(&self) -> Vec<Demand> {
        let context: Vec<(String, Vec<String>)> =
            (self.condition.values().flatten()).map(|(key, values)| (key.clone(), values.clone())).collect();
        let mut demands: Vec<Demand> = Vec::new();
        for name in &self.action {
            let kinds = action(name).map(|row| row.resources).unwrap_or_default();
            let of_kind = |arn: &&String| {
                let rest = arn.splitn(6, ':').nth(5).unwrap_or_default();
                *arn == "*" || kinds.iter().any(|kind| rest.starts_with(kind))
            };
            let resources: Vec<String> = self.resource.iter().filter(of_kind).cloned().collect();
            match demands.iter_mut().find(|demand| demand.resources == resources) {
                Some(demand) => demand.actions.push(name.clone()),
                None => demands.push(Demand { actions: vec![name.clone()], resources, context: context.clone() }),
            }
        }
        demands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_asks_for_the_resources_that_it_takes() {
        let [service, task] = ["service/c/s", "task/c/1"].map(|rest| format!("arn:aws:ecs:r:1:{rest}"));
        let actions = ["ecs:DescribeServices", "ecs:DescribeTasks", "ecs:UpdateService"];
        let statement = Statement::allow("X", &actions, [service.clone(), task.clone()]).when(
            "StringLike",
            "aws:ResourceTag/landfall",
            ["a-*".to_owned()],
        );
        let demands = statement.demands();
        assert_eq!(demands.len(), 2);
        assert_eq!(
            (&demands[0].actions[..], &demands[0].resources[..]),
            (&["ecs:DescribeServices".to_owned(), "ecs:UpdateService".to_owned()][..], &[service][..])
        );
        assert_eq!(
            (&demands[1].actions[..], &demands[1].resources[..]),
            (&["ecs:DescribeTasks".to_owned()][..], &[task][..])
        );
        assert_eq!(demands[1].context, [("aws:ResourceTag/landfall".to_owned(), vec!["a-*".to_owned()])]);
        assert_eq!(Statement::allow("Y", &["ecs:ListTasks"], ["*".to_owned()]).demands()[0].resources, ["*"]);
    }
}
