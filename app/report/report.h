// report.h — runs as one self-contained page (HTML) or one Markdown file that a colleague can read without the program.
// Views belong to kinds of artifact, not to analyses: an analysis written tomorrow is reported without a change here.
// Pure functions of their arguments: no clock, no files, no network; any thread may call. Every text from a run is
// taken as hostile and escaped; invalid UTF-8 becomes U+FFFD. Malformed artifacts are named in the page, never an
// error.
#pragma once

#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/base/json.h"
#include "core/store/result_store.h"

namespace microtome {

// One run. context (every key may be absent):
//   "model":    {"name", "family", "parameters", "d_model", "vocab", "dtype", …any scalars,
//                "layers": [{"index": 0, "mixer": "softmax_attention", "kind": "softmax" | "recurrent",
//                            "heads": 4}, …]}
//   "prompts":  [{"clean": [token texts], "corrupted": [token texts], "answer": "…", "wrong": ["…"],
//                 "labels": {…}, "positions": {label: index}}, …]
//   "task":     {"name", "title", "description", "source"}
//   "analysis": {"title", "definition", "source"}
//   "artifact_notes": {artifact name: text}
//   "attempt":  {"device", "versions": {…} or text, "seconds", "started", "events": ["…"]}: the last attempt
struct ReportRun {
  RunRecord record;
  AnalysisResult result;
  Json context;
};

// A picture as it stood in the app: drawn there, carried here. svg: a whole SVG document; shown as a picture, so that nothing
// in it can run. file: where Markdown finds it, relative to the report.
struct ReportPicture {
  std::string title, command, note, svg, file;
};

struct ReportOptions {
  std::string title, question, notes_markdown;
  std::string generated;  // UTC time as text; passed in, so that equal runs give equal bytes
  std::vector<ReportPicture> pictures;
};

// Runs of one analysis with the same data set and the same answer parameters stand side by side, a column a model,
// under one colour scale. No scripts, fonts, pictures or styles from elsewhere; only sorting needs
// JavaScript.
std::string render_html(const std::vector<ReportRun>& runs, const ReportOptions& options);
// The same facts as text: findings, models, prompts, summaries, tables, the largest cells of arrays, commands.
std::string render_markdown(const std::vector<ReportRun>& runs, const ReportOptions& options);

}  // namespace microtome
