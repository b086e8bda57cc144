//! Containers' secrets in SSM and Secrets Manager, set and looked at, on emulators that nobody here wrote.

use landfall_model::task::SecretRef;
use landfall_ports::PortError;
use landfall_ports::secrets::{SecretStore, SecretValue, Written};
use serde_json::json;

use crate::place::{Kind, Place};

fn ssm(name: &str) -> SecretRef {
    SecretRef::Ssm(name.to_owned())
}

fn manager(text: &str) -> SecretRef {
    SecretRef::SecretsManager(text.to_owned())
}

async fn put(store: &dyn SecretStore, reference: &SecretRef, value: &str) -> Written {
    store.write(reference, &SecretValue::new(value)).await.unwrap()
}

async fn get(store: &dyn SecretStore, reference: &SecretRef) -> Option<String> {
    store.read(reference).await.unwrap().map(|value| value.expose().to_owned())
}

async fn parameters_are_set_and_looked_at(place: Place) {
    let store = place.platform.secrets();
    let url = ssm("/shop/prod/database-url");
    assert_eq!(store.look(&url).await.unwrap(), None);
    assert_eq!(get(&*store, &url).await, None);
    assert_eq!(put(&*store, &url, "one").await, Written::Created);
    assert_eq!(put(&*store, &url, "two").await, Written::Changed);
    let info = store.look(&url).await.unwrap().unwrap();
    assert!(info.changed.is_some() && info.remark.is_none(), "{info:?}");
    assert_eq!(get(&*store, &url).await.as_deref(), Some("two"));
    let described = json!({"Name": "/shop/prod/database-url", "WithDecryption": false});
    let described = place.raw.json("ssm", "AmazonSSM.GetParameter", described).await;
    assert_eq!(described["Parameter"]["Type"], "SecureString");
    // By its ARN too.
    let arn = described["Parameter"]["ARN"].as_str().unwrap();
    assert_eq!(get(&*store, &ssm(arn)).await.as_deref(), Some("two"));
    assert!(store.look(&ssm(arn)).await.unwrap().is_some());
    // The key that it was encrypted with stays.
    let own = json!({"Name": "/shop/prod/own", "Value": "x", "Type": "SecureString", "KeyId": "alias/shop"});
    place.raw.json("ssm", "AmazonSSM.PutParameter", own).await;
    assert_eq!(put(&*store, &ssm("/shop/prod/own"), "y").await, Written::Changed);
    let filter = json!({"ParameterFilters": [{"Key": "Name", "Option": "Equals", "Values": ["/shop/prod/own"]}]});
    let described = place.raw.json("ssm", "AmazonSSM.DescribeParameters", filter).await;
    assert_eq!(described["Parameters"][0]["KeyId"], "alias/shop");
    // What was readable is not written to as if it were a secret.
    let open = json!({"Name": "/shop/prod/open", "Value": "x", "Type": "String"});
    place.raw.json("ssm", "AmazonSSM.PutParameter", open).await;
    let refused = store.write(&ssm("/shop/prod/open"), &SecretValue::new("hunter2")).await.unwrap_err();
    assert!(matches!(&refused, PortError::Conflict(text) if text.contains("is a String")), "{refused}");
    assert!(store.look(&ssm("/shop/prod/open")).await.unwrap().unwrap().remark.unwrap().contains("String"));
    let long = "x".repeat(4097);
    let refused = store.write(&ssm("/shop/prod/long"), &SecretValue::new(long)).await.unwrap_err().to_string();
    assert!(refused.contains("4096") && !refused.contains("xxx"), "{refused}");
    put(&*store, &ssm("/shop/prod/deep/er"), "no").await;
    put(&*store, &ssm("/shop/production"), "no").await;
    let under = store.under("/shop/prod/").await.unwrap();
    assert_eq!(under, ["/shop/prod/database-url", "/shop/prod/open", "/shop/prod/own"]);
    assert_eq!(store.under("/nothing").await.unwrap(), [""; 0]);
}

async fn secrets_are_set_and_looked_at(place: Place) {
    let store = place.platform.secrets();
    let whole = manager("shop/plain");
    assert_eq!((store.look(&whole).await.unwrap(), get(&*store, &whole).await), (None, None));
    assert_eq!(put(&*store, &whole, "one").await, Written::Created);
    assert_eq!(put(&*store, &whole, "two").await, Written::Changed);
    assert_eq!(get(&*store, &whole).await.as_deref(), Some("two"));
    assert!(store.look(&whole).await.unwrap().unwrap().changed.is_some());
    // The version before is still there for who refers to it.
    assert_eq!(get(&*store, &manager("shop/plain::AWSPREVIOUS")).await.as_deref(), Some("one"));
    // One key at a time.
    let (user, password) = (manager("shop/db:user"), manager("shop/db:password"));
    assert_eq!(put(&*store, &user, "u").await, Written::Created);
    assert_eq!(get(&*store, &password).await, None);
    assert_eq!(put(&*store, &password, "p").await, Written::Changed);
    assert_eq!(
        (get(&*store, &user).await.as_deref(), get(&*store, &password).await.as_deref()),
        (Some("u"), Some("p"))
    );
    let described =
        place.raw.json("secretsmanager", "secretsmanager.DescribeSecret", json!({"SecretId": "shop/db"})).await;
    let arn = described["ARN"].as_str().unwrap();
    assert_eq!(put(&*store, &manager(&format!("{arn}:user::")), "v").await, Written::Changed);
    assert_eq!(get(&*store, &user).await.as_deref(), Some("v"));
    let refused = store.write(&manager("shop/plain:x"), &SecretValue::new("hunter2")).await.unwrap_err().to_string();
    assert!(refused.contains("no JSON object") && !refused.contains("two"), "{refused}");
    let refused = store.write(&manager("shop/plain::AWSPREVIOUS"), &SecretValue::new("x")).await.unwrap_err();
    assert!(matches!(refused, PortError::Invalid(_)), "{refused}");
    let missing = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:none-AbCdEf";
    let refused = store.write(&manager(missing), &SecretValue::new("x")).await.unwrap_err();
    assert!(matches!(refused, PortError::NotFound(_)), "{refused}");
    let delete = json!({"SecretId": "shop/plain", "RecoveryWindowInDays": 7});
    place.raw.json("secretsmanager", "secretsmanager.DeleteSecret", delete).await;
    if place.kind == Kind::Moto {
        let refused = store.write(&whole, &SecretValue::new("x")).await.unwrap_err().to_string();
        assert!(refused.contains("restore-secret"), "{refused}");
    }
}

on!(moto: parameters_are_set_and_looked_at, secrets_are_set_and_looked_at);
on!(ministack: parameters_are_set_and_looked_at, secrets_are_set_and_looked_at);
