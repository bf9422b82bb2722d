#include "app/engine/trained_dictionaries.h"

#include <algorithm>
#include <filesystem>

#include "core/base/status.h"
#include "core/dictionary/formats/format.h"
#include "core/dictionary/stored.h"

namespace microtome::app {

void write_trained_dictionaries(const AnalysisResult& result, const std::vector<std::string>& names, const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code ec;
  if (fs::exists(folder, ec) && !fs::is_empty(folder, ec)) return;
  AnalysisResult chosen;
  for (const Artifact& a : result.artifacts)
    if (const auto* map = std::get_if<TensorMap>(&a); map && is_dictionary(*map))
      if (names.empty() || std::find(names.begin(), names.end(), map->name) != names.end()) chosen.artifacts.push_back(*map);
  if (chosen.artifacts.empty())
    throw Error(StatusCode::kNotFound, names.empty() ? "the run holds no dictionary" : "the run holds no dictionary '" + names.front() + "'", "dictionaries",
                "choose a training run that is done");
  // Beside its place and moved there whole: what a full disk leaves half-written is never taken for a dictionary.
  const std::string part = folder + ".part";
  fs::remove_all(part, ec);
  fs::create_directories(fs::path(folder).parent_path(), ec);
  write_dictionaries(dictionaries_of(chosen, folder), "saelens", part);
  fs::remove(folder, ec);
  fs::rename(part, folder, ec);
  if (ec) throw Error(StatusCode::kFailed, "the dictionary cannot be moved into place: " + ec.message(), folder, "free space, or choose another place for the project");
}

}  // namespace microtome::app
