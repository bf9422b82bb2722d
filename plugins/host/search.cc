// Which files are plug-ins: folders, in order, and *.so in them, by name.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "plugins/host/plugin.h"

namespace microtome::plugins {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string own_folder() {
  std::error_code ec;
  fs::path self = fs::read_symlink("/proc/self/exe", ec);
  return ec ? std::string() : self.parent_path().string();
}

}  // namespace

std::vector<Folder> plugin_folders(const std::string& program_folder) {
  std::vector<Folder> out;
  std::string part;
  for (char c : variable("MICROTOME_PLUGIN_PATH") + ":") {
    if (c != ':') {
      part += c;
      continue;
    }
    if (!part.empty()) out.push_back({part, true});
    part.clear();
  }
  std::string program = program_folder.empty() ? own_folder() : program_folder;
  if (!program.empty()) out.push_back({(fs::path(program) / "plugins").string(), false});
  std::string data = variable("XDG_DATA_HOME"), home = variable("HOME");
  // The specification has a relative XDG_DATA_HOME ignored.
  if (data.empty() || data[0] != '/') data = home.empty() ? "" : home + "/.local/share";
  if (!data.empty()) out.push_back({data + "/microtome/plugins", false});
  return out;
}

Loaded load_plugins(const std::vector<Folder>& folders, std::set<std::string> taken) {
  Loaded out;
  std::set<fs::path> seen;
  for (const Folder& folder : folders) {
    std::error_code ec;
    fs::path path = fs::canonical(folder.path, ec);
    if (ec || !fs::is_directory(path, ec)) {
      if (folder.named)
        out.problems.push_back(Status(StatusCode::kNotFound, "the plug-in folder does not exist", folder.path,
                                      "correct MICROTOME_PLUGIN_PATH")
                                   .text());
      continue;
    }
    if (!seen.insert(path).second) continue;
    std::vector<fs::path> files;
    for (fs::directory_iterator it(path, ec), end; !ec && it != end; it.increment(ec))
      if (it->path().extension() == ".so") files.push_back(it->path());
    if (ec) {
      out.problems.push_back(Status(StatusCode::kNotFound, "the plug-in folder cannot be read: " + ec.message(),
                                    path.string(), "check its permissions")
                                 .text());
      continue;
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      fs::path real = fs::canonical(file, ec);
      if (!ec && !seen.insert(real).second) continue;  // one library under two names is one plug-in
      if (ec || !fs::is_regular_file(real, ec)) {
        out.problems.push_back(
            Status(StatusCode::kBadInput, "the plug-in is no file", file.string(), "remove it").text());
        continue;
      }
      Status s = catch_status([&] { out.plugins.push_back(load_plugin(file.string(), taken, out.problems)); });
      if (!s) out.problems.push_back(s.text());
    }
  }
  return out;
}

}  // namespace microtome::plugins
