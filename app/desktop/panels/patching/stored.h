// stored.h — grids that the project already holds: the finished run of a request, or the newest one of a model; and whether what is
// shown was computed on the prompts of the window.
#pragma once

#include <QStringList>
#include <map>
#include <string>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

// The analyses of the panel, in the order of its list.
const QStringList& gridAnalyses();     // "activation_patching", "attribution_patching", "ablation"

// What a grid was asked for.
struct GridRequest {
  QString analysis;
  std::map<std::string, std::string> params;           // all that affect the answer
  std::string prompts;                                 // hash of the dataset
  bool operator==(const GridRequest&) const = default;
  std::string param(const char* name) const;           // empty: there is none
  bool noise() const { return param("direction") == "noise"; }
};
GridRequest requestOfRecord(const RunRecord& record);

enum class PromptScope { kAll, kOne, kOther };

class StoredGrids {
 public:
  explicit StoredGrids(Session& session) : session_(session) {}
  // Hash of what a request in this slot would run on; empty: there are no prompts.
  const std::string& promptHash(int slot, bool one);
  GridRequest requested(const RunRequest& request);
  // Number of the finished run, 0: none. Where a model's weights have changed on disk, that of the older weights.
  qint64 find(int slot, const GridRequest& wanted) const;
  // The newest finished run on the model in this slot, on the window's prompts if there is one; null: none.
  const RunRecord* newest(int slot);
  // All prompts of the window, the selected one, or others.
  PromptScope scopeOf(int slot, const std::string& prompts);

 private:
  bool fits(int slot, const RunRecord& record) const;  // a finished grid, on this model, with the window's settings
  struct Known {
    std::shared_ptr<const Dataset> set;
    int index = -1;
    std::string all, one;
  };
  Session& session_;
  Known known_[Session::kSlots];
};

}  // namespace microtome::desktop
