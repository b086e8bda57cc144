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
    /// Operator, then key, then values.
    condition: BTreeMap<String, BTreeMap<String, Values>>,
}

/// One is written without a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Values {
    One(Expr),
    Any(Vec<Expr>),
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

    pub fn when(self, operator: &str, key: &str, value: Expr) -> Self {
        self.when_any(operator, key, vec![value])
    }

    pub fn when_any(mut self, operator: &str, key: &str, mut values: Vec<Expr>) -> Self {
        let values = if values.len() == 1 { Values::One(values.remove(0)) } else { Values::Any(values) };
        self.condition.entry(operator.to_owned()).or_default().insert(key.to_owned(), values);
        self
    }

    /// In a resource's own policy: nobody, whatever else allows it.
    pub fn deny_all(sid: &str, actions: &[&str], resource: impl IntoIterator<Item = Expr>) -> Self {
        let principal = Some(BTreeMap::from([("AWS", "*".to_owned())]));
        Self { effect: "Deny", principal, ..Self::allow(sid, actions, resource) }
    }

    /// What `landfall iam` prints. `${AWS::Region}` and its like are filled in by CloudFormation.
    pub fn of(own: &landfall_iam::Statement) -> Self {
        let actions: Vec<&str> = own.action.iter().map(String::as_str).collect();
        let mut statement = Self::allow(&own.sid, &actions, own.resource.iter().map(|text| Expr::filled(text)));
        for (operator, keys) in &own.condition {
            for (key, values) in keys {
                statement = statement.when_any(operator, key, values.iter().map(|text| Expr::filled(text)).collect());
            }
        }
        statement
    }
}
