// plugin_analyses.h — the analyses of a process: the built-in ones and those of plug-ins, in one registry. Built once, at
// start, by whoever runs analyses; immutable then.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "analysis/registry.h"
#include "plugins/host/plugin.h"

namespace microtome::app {

struct AnalysisCatalogue {
  analyses::Registry registry;
  std::vector<std::shared_ptr<const plugins::Plugin>> plugins;
  std::vector<std::string> problems;   // one sentence each: what could not be used, and why
  std::vector<plugins::Folder> folders;                // that were looked into
};

// Opens the plug-ins; runs code of theirs. Does not throw for anything a plug-in does.
AnalysisCatalogue load_analyses(std::vector<plugins::Folder> folders = plugins::plugin_folders());

// An analysis by name; Error(kNotFound) lists the known ones and says how many plug-ins could not be used.
const AnalysisKind& find_analysis(const AnalysisCatalogue& catalogue, const std::string& name, const std::string& where);

}  // namespace microtome::app
