//! A report as files: JSON for other programs, and a folder with all of it for readers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Report;

impl Report {
    /// Everything, for other programs: one line for each fact, floor, row and run.
    pub fn to_json(&self) -> Result<String> {
        let sections = [
            section("facts", &self.facts)?,
            section("floors", &self.floors)?,
            section("rows", &self.rows)?,
            section("runs", &self.runs)?,
        ];
        Ok(format!("{{\n{}\n}}\n", sections.join(",\n")))
    }

    /// Writes `results.md`, `results.json` and the pictures into this folder, which is made if need be.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let write = |file: &str, text: &str| {
            let path = folder.join(file);
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        let pictures = self.pictures();
        for picture in &pictures {
            write(&picture.file, &picture.svg)?;
        }
        let shown = pictures.iter().map(|picture| format!("![{}]({})\n", picture.title, picture.file));
        let pictures = shown.collect::<Vec<_>>().join("\n");
        write("results.md", &format!("# Results\n\n{self}\n## Pictures\n\n{pictures}"))?;
        write("results.json", &self.to_json()?)
    }
}

fn section<T: Serialize>(name: &str, items: &[T]) -> Result<String> {
    let lines = items.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("\"{name}\": [\n{}\n]", lines.join(",\n")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::tests::connects;
    use crate::report::{Fact, Outcome};

    fn report() -> Report {
        let mut runs = connects(9, "kernel-nat", 1e3);
        runs.extend(connects(9, "sidegate-nat", 2e3));
        runs.extend(connects(2, "haproxy", 1e3));
        if let Some(run) = runs.last_mut() {
            run.outcome = Outcome::Error("\"gone\"".into());
        }
        Report::new(
            vec![Fact { what: "cores", is: "2".into() }],
            &["kernel-nat", "sidegate-nat", "haproxy"],
            runs,
        )
    }

    #[test]
    fn json_has_facts_floors_rows_and_runs() {
        let text = report().to_json().unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["facts"][0]["is"], "2");
        assert_eq!(json["runs"].as_array().unwrap().len(), 20);
        let run = &json["runs"][0];
        assert_eq!((&run["mtu"], &run["round"], &run["value"]), (&8500.into(), &0.into(), &1000.0.into()));
        assert_eq!((&run["figure"], &run["unit"]), (&"connect".into(), &"1/s".into()));
        assert_eq!(json["runs"][19]["error"], "\"gone\"");
        let row = &json["rows"][1];
        assert_eq!((&row["peer"], &row["runs"]), (&"sidegate-nat".into(), &9.into()));
        assert_eq!(
            (&row["ratios"][0]["to"], &row["ratios"][0]["median"]),
            (&"kernel-nat".into(), &2.0.into())
        );
        assert!(row["ratios"][0]["interval"]["confidence"].as_f64().unwrap() > 0.95);
        assert_eq!(json["rows"][2]["errors"][0], "\"gone\"");
        assert_eq!(text.lines().count(), 2 + 4 * 2 + 1 + json["floors"].as_array().unwrap().len() + 3 + 20);
    }

    #[test]
    fn json_says_what_became_of_floors() {
        let json: Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
        let of = |words: [&str; 2]| {
            let floors = json["floors"].as_array().unwrap().iter();
            let mut found = floors
                .filter(|floor| words.iter().all(|word| floor["floor"].as_str().unwrap().contains(word)));
            found.next().unwrap().clone()
        };
        let met = of(["sidegate-nat, new connections/s, target", "kernel"]);
        assert_eq!(
            (&met["verdict"], &met["at_least"], &met["median"]),
            (&"met".into(), &1.5.into(), &2.0.into())
        );
        assert_eq!(of(["sidegate-nat, new connections/s, target", "haproxy"])["verdict"], "failed");
        assert_eq!(of(["splice", "haproxy"])["verdict"], "not_measured");
        assert_eq!(of(["memory", "flow"])["verdict"], "elsewhere");
    }

    #[test]
    fn a_folder_has_it_all() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("made/for/it");
        report().write(&inside).unwrap();
        let text = fs::read_to_string(inside.join("results.md")).unwrap();
        for file in ["summary.svg", "connect-8500.svg"] {
            assert!(text.contains(&format!("({file})")), "{text}");
            assert!(fs::read_to_string(inside.join(file)).unwrap().starts_with("<svg "));
        }
        let json = fs::read_to_string(inside.join("results.json")).unwrap();
        assert_eq!(json, report().to_json().unwrap());
        let error = report().write(&inside.join("results.md")).unwrap_err();
        assert!(format!("{error:#}").contains("results.md"), "{error:#}");
    }
}
