// plugin.h — shared libraries that bring analyses: opened, checked, and known by file and hash. What runs them is
// plugin_run.h. Nothing here is fatal: a library or an analysis that cannot be used is left out with a sentence that says
// why.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/base/params.h"
#include "plugins/include/microtome_plugin.h"

namespace microtome::plugins {

// One analysis of a plug-in; everything but the callbacks is a checked copy.
struct PluginAnalysis {
  struct Output {
    std::string name;
    std::vector<std::string> axes;
    std::string help;
  };
  std::string name, title, definition, source;
  int64_t version = 1;
  int32_t prompts = MICROTOME_PROMPTS_CLEAN;
  bool needs_answers = false;
  std::vector<Output> outputs;
  ParamSchema schema;
  microtome_analysis calls{};          // the callbacks and `user`; its other pointers are not to be read
};

// An opened library. It stays open for the life of the process: objects of its own may outlive our use of it.
struct Plugin {
  std::string file;                    // absolute
  std::string hash;                    // SHA-256 of the file
  std::string name, version;
  std::vector<PluginAnalysis> analyses;
};

struct Loaded {
  std::vector<std::shared_ptr<const Plugin>> plugins;
  std::vector<std::string> problems;   // "WHAT (FILE): WHAT TO DO"
};

// Where plug-ins are looked for, in this order: the folders of MICROTOME_PLUGIN_PATH (separated by colons),
// PROGRAM_FOLDER/plugins, and microtome/plugins in $XDG_DATA_HOME or ~/.local/share. program_folder empty: this process's.
struct Folder {
  std::string path;
  bool named = false;                  // by MICROTOME_PLUGIN_PATH: then its absence is a problem
};
std::vector<Folder> plugin_folders(const std::string& program_folder = {});

// Opens every *.so of the folders, in the order of their names. taken: names of analyses that exist; a second one of a
// name is left out. Runs code of the libraries. Thread-safe.
Loaded load_plugins(const std::vector<Folder>& folders, std::set<std::string> taken);

// One library; problems of single analyses are appended, of the whole library thrown as Error.
std::shared_ptr<const Plugin> load_plugin(const std::string& file, std::set<std::string>& taken,
                                          std::vector<std::string>& problems);

// What the program offers, as plug-ins see it.
const microtome_host& host_table();

}  // namespace microtome::plugins
