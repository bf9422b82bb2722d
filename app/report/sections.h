// sections.h — the parts of the page in reading order. Each returns a whole <section> (or nothing when it has nothing
// to say); report.cc puts them together.
#pragma once

#include <string>
#include <vector>

#include "app/report/artifact_html.h"
#include "app/report/report_index.h"

namespace microtome::report {

// <section id> with its heading.
std::string section(const std::string& id, const std::string& title, const std::string& body);
std::string findings_section(const ReportIndex& index);
std::string pictures_section(const std::vector<ReportPicture>& pictures);
std::string models_section(const ReportIndex& index);
std::string prompts_section(const ReportIndex& index);
std::string analysis_section(const AnalysisGroup& group, RenderState& state);
std::string notes_section(const std::string& notes_markdown);
std::string repeat_section(const std::vector<ReportRun>& runs);

}  // namespace microtome::report
