//! Reads what `iperf3 --json` and `wrk` print. A run that had errors is an error, never a smaller figure.

use serde::Deserialize;

/// Why a tool's output is not a measurement.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The output is not the JSON that the tool promised.
    #[error("iperf3 printed no valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The tool itself says that the run failed.
    #[error("{tool}: {said}")]
    Failed {
        /// Which tool.
        tool: &'static str,
        /// In its own words.
        said: String,
    },
    /// The figure is not there.
    #[error("{tool} printed no `{field}`")]
    Missing {
        /// Which tool.
        tool: &'static str,
        /// What was looked for.
        field: &'static str,
    },
}

/// What arrived at the receiver, in bits per second, from `iperf3 --json`.
pub fn iperf3(output: &str) -> Result<f64, Unreadable> {
    #[derive(Deserialize)]
    struct Printed {
        error: Option<String>,
        end: Option<End>,
    }
    #[derive(Deserialize)]
    struct End {
        sum_received: Option<Sum>,
    }
    #[derive(Deserialize)]
    struct Sum {
        bits_per_second: f64,
    }

    let printed: Printed = serde_json::from_str(output)?;
    if let Some(said) = printed.error {
        return Err(Unreadable::Failed { tool: "iperf3", said });
    }
    let missing = |field| Unreadable::Missing { tool: "iperf3", field };
    let end = printed.end.ok_or(missing("end"))?;
    let arrived = end.sum_received.ok_or(missing("end.sum_received"))?.bits_per_second;
    if arrived == 0.0 {
        return Err(Unreadable::Failed { tool: "iperf3", said: "nothing arrived".to_owned() });
    }
    Ok(arrived)
}

/// What `wrk --latency` has measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Requests {
    /// Requests per second.
    pub rate: f64,
    /// Seconds that 99 of 100 requests stayed below.
    pub p99: f64,
}

/// Requests from `wrk --latency`. One socket error or one answer that is not a success spoils the run.
pub fn wrk(output: &str) -> Result<Requests, Unreadable> {
    let line = |label: &str| output.lines().map(str::trim).find(|line| line.starts_with(label));
    if let Some(said) = line("Socket errors").or_else(|| line("Non-2xx")) {
        return Err(Unreadable::Failed { tool: "wrk", said: said.to_owned() });
    }
    let figure = |field: &'static str, read: fn(&str) -> Option<f64>| {
        line(field)
            .and_then(|line| read(line[field.len()..].trim()))
            .ok_or(Unreadable::Missing { tool: "wrk", field })
    };
    Ok(Requests { rate: figure("Requests/sec:", |rate| rate.parse().ok())?, p99: figure("99%", seconds)? })
}

/// A time as wrk prints it, in seconds.
fn seconds(printed: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 4] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((printed.strip_suffix(name)?, unit)))?;
    Some(number.parse::<f64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ http://10.1.0.1:8080/
  2 threads and 64 connections
  Latency Distribution
     50%  642.00us
     99%    2.75ms
  97012 requests in 1.00s, 14.2MB read
Requests/sec:  96911.25
Transfer/sec:     14.2MB
";

    #[test]
    fn iperf3_counts_what_was_received() {
        let output = r#"{"start":{},"end":{"sum_sent":{"bits_per_second":2.0},"sum_received":{"bits_per_second":1.5}}}"#;
        assert_eq!(iperf3(output).unwrap(), 1.5);
    }

    #[test]
    fn iperf3_of_which_nothing_arrives_has_failed() {
        let output = r#"{"end":{"sum_sent":{"bits_per_second":2.0},"sum_received":{"bits_per_second":0}}}"#;
        assert_eq!(iperf3(output).unwrap_err().to_string(), "iperf3: nothing arrived");
    }

    #[test]
    fn iperf3_errors_are_passed_on() {
        let output = r#"{"start":{},"end":{},"error":"unable to connect to server"}"#;
        assert_eq!(iperf3(output).unwrap_err().to_string(), "iperf3: unable to connect to server");
        assert!(matches!(iperf3(r#"{"end":{}}"#), Err(Unreadable::Missing { .. })));
        assert!(matches!(iperf3(""), Err(Unreadable::Json(_))));
    }

    #[test]
    fn wrk_counts_requests() {
        assert_eq!(wrk(WRK).unwrap(), Requests { rate: 96911.25, p99: 2.75e-3 });
    }

    #[test]
    fn wrk_times_have_units() {
        assert_eq!(seconds("250.00us"), Some(250e-6));
        assert_eq!(seconds("1.20s"), Some(1.2));
        assert_eq!(seconds("2.00m"), Some(120.0));
        assert_eq!(seconds("12"), None);
    }

    #[test]
    fn wrk_is_spoilt_by_one_error() {
        let errors = "  Socket errors: connect 0, read 0, write 0, timeout 3\n";
        assert_eq!(
            wrk(&format!("{errors}{WRK}")).unwrap_err().to_string(),
            format!("wrk: {}", errors.trim())
        );
        assert!(wrk(&format!("{WRK}  Non-2xx or 3xx responses: 9\n")).is_err());
        assert!(matches!(wrk("Requests/sec: fast"), Err(Unreadable::Missing { field: "Requests/sec:", .. })));
        assert!(matches!(wrk("Requests/sec: 1"), Err(Unreadable::Missing { field: "99%", .. })));
    }
}
