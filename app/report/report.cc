#include "app/report/report.h"

#include "app/report/html.h"
#include "app/report/sections.h"
#include "app/report/style.h"
#include "app/report/svg_heatmap.h"

namespace microtome {
namespace {

using namespace report;

std::string entry(const std::string& id, const std::string& title) {
  return "<li><a href=\"#" + id + "\">" + escape(shorten(title, 100)) + "</a></li>";
}

std::string contents(const ReportIndex& index, bool notes, bool pictures) {
  // What its author says comes before what the runs say.
  std::string out = "<nav aria-label=\"Contents\"><ol>" + (notes ? entry("notes", "Notes") : "") + entry("found", "What was found") +
                    (pictures ? entry("pictures", "Pictures") : "") + entry("models", index.models.size() > 1 ? "Models" : "Model") + entry("prompts", "Prompts");
  for (const AnalysisGroup& g : index.groups) out += entry(g.anchor, g.title);
  return out + entry("repeat", "How to repeat") + "</ol></nav>";
}

std::string summary_line(const std::vector<ReportRun>& runs, const ReportIndex& index, const std::string& generated) {
  std::string models;
  for (const ModelFacts& m : index.models) models += (models.empty() ? "" : ", ") + m.label;
  std::string out = count(static_cast<int64_t>(runs.size())) + (runs.size() == 1 ? " run" : " runs");
  if (!models.empty()) out += " of " + shorten(models, 400);
  if (!generated.empty()) out += " \xC2\xB7 written " + generated;
  return out;
}

}  // namespace

std::string render_html(const std::vector<ReportRun>& runs, const ReportOptions& options) {
  std::string title = options.title.empty() ? "Microtome report" : options.title;
  ReportIndex index = make_index(runs);
  std::string out =
      page_head(title) + svg_definitions() + "<header><p class=\"kick\">Microtome report</p><h1>" + escape(title) + "</h1>";
  if (!options.question.empty()) out += "<p class=\"q\">" + escape(options.question) + "</p>";
  out += "<p class=\"meta\">" + escape(summary_line(runs, index, options.generated)) + "</p></header>\n";
  if (runs.empty()) {
    out +=
        "<main><section><h2>No runs</h2><p>This report was asked for without any finished run, so there is nothing to "
        "show. "
        "Make one with <code>microtome run ANALYSIS --model MODEL --project FILE.microtome</code>, then write the "
        "report again.</p></section>" +
        notes_section(options.notes_markdown) + "</main>";
  } else {
    RenderState state;
    state.index = &index;
    for (size_t m = 0; m < index.models.size(); ++m) state.heads.push_back(rank_heads(runs, index, m));
    out += contents(index, !options.notes_markdown.empty(), !options.pictures.empty()) + "\n<main>" +
           notes_section(options.notes_markdown) + findings_section(index) + "\n" +
           pictures_section(options.pictures) + models_section(index) + "\n" + prompts_section(index);
    for (const AnalysisGroup& g : index.groups) out += "\n" + analysis_section(g, state);
    out += "\n" + repeat_section(runs) + "</main>";
  }
  out +=
      "\n<footer class=\"meta\">Written by Microtome. This file is complete: it loads nothing from "
      "elsewhere.</footer><script>" +
      script() + "</script></body></html>\n";
  return out;
}

}  // namespace microtome
