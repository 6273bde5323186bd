//! What a running instance can be asked over its control socket, and what it answers.
//!
//! Each question and its answer meet twice: in [`Answers::to`](crate::answers::Answers::to), where the instance answers,
//! and in the module of the verb that asks.

use std::time::Duration;

use runtime::{
    EndpointDetail, Explanation, FlowFilter, FlowList, Question, Reloaded, ServiceStatus, Snapshot,
    TargetStatus,
};
use serde::{Deserialize, Serialize};

/// A question, or an order. On the socket `verb` says which: `{"verb":"targets","group":"web"}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// How it is doing.
    Status {},
    /// That it read its file again.
    Reload {},
    /// How its targets are: all, or those of one group.
    Targets { group: Option<String> },
    /// What it publishes.
    Services {},
    /// Where consumers come in.
    Endpoints {},
    /// Which flows there are.
    Flows { filter: FlowFilter },
    /// What would become of a newcomer.
    Explain { question: Question },
}

impl Request {
    /// How long an answer may take.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            // It opens devices, one namespace after the other.
            Self::Reload {} => Duration::from_secs(120),
            // The whole table is looked at.
            Self::Flows { .. } => Duration::from_secs(30),
            _ => Duration::from_secs(5),
        }
    }
}

/// The answer to each, by the request's name.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Status(Box<Snapshot>),
    Reload(Reloaded),
    Targets(Vec<TargetStatus>),
    Services(Vec<ServiceStatus>),
    Endpoints(Vec<EndpointDetail>),
    Flows(FlowList),
    Explain(Explanation),
}

#[cfg(test)]
mod tests {
    use runtime::Transport;

    use super::*;

    #[test]
    fn requests_are_as_documented() {
        let from = "10.1.0.2:40000".parse().unwrap();
        let to = "10.1.9.50:80".parse().unwrap();
        let question = Question { endpoint: None, protocol: Transport::Udp, from, to, isn: None };
        let filter = FlowFilter { protocol: Some(Transport::Tcp), ..FlowFilter::default() };
        for (request, text) in [
            (Request::Status {}, r#"{"verb":"status"}"#),
            (Request::Reload {}, r#"{"verb":"reload"}"#),
            (Request::Targets { group: None }, r#"{"verb":"targets"}"#),
            (Request::Targets { group: Some("web".into()) }, r#"{"verb":"targets","group":"web"}"#),
            (Request::Services {}, r#"{"verb":"services"}"#),
            (Request::Endpoints {}, r#"{"verb":"endpoints"}"#),
            (Request::Flows { filter: FlowFilter::default() }, r#"{"verb":"flows","filter":{}}"#),
            (Request::Flows { filter }, r#"{"verb":"flows","filter":{"protocol":"tcp"}}"#),
            (
                Request::Explain { question },
                r#"{"verb":"explain","question":{"protocol":"udp","from":"10.1.0.2:40000","to":"10.1.9.50:80"}}"#,
            ),
        ] {
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request, "{text}");
            let sent = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&sent).unwrap(), request, "{sent}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for wrong in [
            "",
            "7",
            "{}",
            r#"{"verb":"stop"}"#,
            r#"{"verb":"status","all":true}"#,
            r#"{"verb":"targets","grop":"web"}"#,
            r#"{"verb":"flows"}"#,
            r#"{"verb":"flows","filter":{"colour":"red"}}"#,
            r#"{"verb":"flows","filter":{"protocol":"icmp"}}"#,
            r#"{"verb":"explain","question":{"protocol":"tcp","from":"10.1.0.2","to":"10.1.9.50:80"}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
