//! What AWS says when something is not allowed: who, which action, on what, and why.
//!
//! `User: ARN is not authorized to perform: ACTION on resource: ARN because no identity-based policy allows the ACTION action`
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>). EC2 has another sentence, with the
//! reason encoded. The resource may be left out or stand in quotes, and the action that lacks may be another than the one
//! that was called: `iam:PassRole`, `ecs:TagResource`.

/// What lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub who: Option<String>,
    pub action: String,
    pub resource: Option<String>,
    pub why: Option<&'static str>,
}

const PERFORM: &str = " is not authorized to perform: ";
const ON: &str = " on resource: ";

/// AWS's words for what refused, and where that is mended.
const REASONS: [(&str, &str); 8] = [
    ("no identity-based policy allows", "no policy of its own allows it"),
    ("no resource-based policy allows", "the resource's own policy does not allow it"),
    ("no permissions boundary allows", "its permissions boundary does not allow it"),
    ("no session policy allows", "the session's policy does not allow it"),
    ("no service control policy allows", "a service control policy of the organization does not allow it"),
    ("no VPC endpoint policy allows", "the VPC endpoint's policy does not allow it"),
    ("explicit deny in a service control policy", "a service control policy of the organization denies it"),
    ("explicit deny", "a policy denies it in so many words"),
];

impl Denial {
    /// `None`: another sentence.
    pub(crate) fn parse(message: &str) -> Option<Self> {
        let (before, after) = message.split_once(PERFORM)?;
        let who = before.rsplit_once("User: ").map(|(_, who)| who.trim().to_owned());
        let word = |text: &str| {
            let word = text.split_whitespace().next().unwrap_or_default();
            word.trim_matches(['"', '\'', ',', '.', ';']).to_owned()
        };
        let action = word(after);
        if !action.contains(':') {
            return None;
        }
        let resource = after.split_once(ON).map(|(_, rest)| word(rest)).filter(|resource| !resource.is_empty());
        let why = REASONS.iter().find(|(said, _)| after.contains(said)).map(|(_, why)| *why);
        Some(Self { who, action, resource, why })
    }

    /// For a person: which action on which resource.
    pub(crate) fn said(&self) -> String {
        let mut text = match &self.who {
            Some(who) => format!("{who} may not do {}", self.action),
            None => format!("{} is not allowed", self.action),
        };
        if let Some(resource) = &self.resource {
            text.push_str(&format!(" on {resource}"));
        }
        if let Some(why) = self.why {
            text.push_str(&format!(": {why}"));
        }
        text
    }

    pub(crate) fn lack(self) -> crate::doctor::Lack {
        crate::doctor::Lack { action: self.action, resource: self.resource.filter(|resource| resource != "*") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_what_on_what_and_why() {
        let message = "User: arn:aws:sts::111122223333:assumed-role/deploy/landfall-1 is not authorized to perform: iam:PassRole on \
                       resource: arn:aws:iam::111122223333:role/task because no identity-based policy allows the iam:PassRole action";
        let denial = Denial::parse(message).unwrap();
        assert_eq!(denial.action, "iam:PassRole");
        assert_eq!(denial.resource.as_deref(), Some("arn:aws:iam::111122223333:role/task"));
        assert_eq!(
            denial.said(),
            "arn:aws:sts::111122223333:assumed-role/deploy/landfall-1 may not do iam:PassRole on \
             arn:aws:iam::111122223333:role/task: no policy of its own allows it"
        );
    }

    #[test]
    fn other_forms_of_it() {
        let of =
            |message: &str| Denial::parse(message).map(|denial| (denial.action, denial.resource, denial.why.is_some()));
        let is =
            |action: &str, resource: Option<&str>, why| Some((action.to_owned(), resource.map(str::to_owned), why));
        assert_eq!(
            of("User: arn:x is not authorized to perform: ecs:RegisterTaskDefinition on resource: \
                arn:aws:ecs:eu-west-1:1:task-definition/web:* with an explicit deny in a service control policy: arn:y"),
            is("ecs:RegisterTaskDefinition", Some("arn:aws:ecs:eu-west-1:1:task-definition/web:*"), true)
        );
        assert_eq!(
            of("User: arn:x is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::b/k\" because no \
                identity-based policy allows the s3:PutObject action"),
            is("s3:PutObject", Some("arn:aws:s3:::b/k"), true)
        );
        assert_eq!(
            of("User: arn:x is not authorized to perform: ecs:ListServices"),
            is("ecs:ListServices", None, false)
        );
        // EC2's own: the reason is encoded, the action stands in front.
        assert_eq!(
            of("You are not authorized to perform this operation. User: arn:x is not authorized to perform: \
                ec2:DescribeSubnets because no identity-based policy allows the ec2:DescribeSubnets action. Encoded \
                authorization failure message: abc"),
            is("ec2:DescribeSubnets", None, true)
        );
        assert_eq!(
            of("You are not authorized to perform this operation. Encoded authorization failure message: abc"),
            None
        );
        assert_eq!(of("Access Denied"), None);
    }
}
