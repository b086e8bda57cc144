//! Rights within a template: resources may be values that CloudFormation works out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::expr::Expr;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    sid: Option<String>,
    effect: &'static str,
    principal: Option<BTreeMap<&'static str, String>>,
    action: Vec<String>,
    resource: Vec<Expr>,
    /// Operator, then key, then value.
    condition: BTreeMap<&'static str, BTreeMap<&'static str, Expr>>,
}

impl Policy {
    pub fn new(statement: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statement }
    }

    /// Who may take a role: a service of AWS, on behalf of this account only.
    pub fn trust(service: &str) -> Self {
        let principal = Some(BTreeMap::from([("Service", format!("{service}.amazonaws.com"))]));
        let statement = Statement { sid: None, principal, ..Statement::allow("", &["sts:AssumeRole"], []) };
        // EC2 does not say for whom it asks.
        Self::new(vec![match service {
            "ec2" => statement,
            _ => statement.when("StringEquals", "aws:SourceAccount", Expr::Pseudo("AWS::AccountId")),
        }])
    }
}

impl Statement {
    pub fn allow(sid: &str, actions: &[&str], resource: impl IntoIterator<Item = Expr>) -> Self {
        Self {
            sid: Some(sid.to_owned()),
            effect: "Allow",
            principal: None,
            action: actions.iter().map(|action| (*action).to_owned()).collect(),
            resource: resource.into_iter().collect(),
            condition: BTreeMap::new(),
        }
    }

    pub fn when(mut self, operator: &'static str, key: &'static str, value: Expr) -> Self {
        self.condition.entry(operator).or_default().insert(key, value);
        self
    }
}
