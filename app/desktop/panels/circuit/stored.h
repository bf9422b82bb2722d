// stored.h — which analyses make circuits, and the circuits that the project already holds for the models of the window.
#pragma once

#include <QObject>
#include <QSet>
#include <QString>
#include <map>
#include <string>
#include <vector>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

// What a circuit was asked for.
struct CircuitRequest {
  QString analysis;
  std::map<std::string, std::string> params;           // all that affect the answer
  std::string prompts;                                 // hash of the dataset
  bool operator==(const CircuitRequest&) const = default;
  std::string param(const char* name) const;           // empty: there is none
};
CircuitRequest circuitRequestOf(const RunRecord& record);
// The first circuit of a result; null: there is none.
const Circuit* circuitOf(const AnalysisResult& result);

enum class CircuitPrompts { kAll, kOne, kOther };

class StoredCircuits : public QObject {
  Q_OBJECT
 public:
  StoredCircuits(Session& session, QObject* parent) : QObject(parent), session_(session) {}
  // Analyses that say they give edge scores, or of which a stored result holds a circuit: the better known ones first.
  QStringList analyses() const;
  bool makesCircuits(const QString& analysis) const;
  // Looks into one stored result of each analysis that has not said what it gives; changed() when one held a circuit. Reads in the lane
  // "store", once an analysis.
  void learn();
  void forgetProject() { looked_.clear(); }

  // Finished runs that make circuits, on the model in this slot, newest first; those on the window's prompts before all others.
  std::vector<const RunRecord*> list(int slot);
  // Hash of what a request in this slot would run on; empty: there are no prompts.
  const std::string& promptHash(int slot, bool one);
  CircuitRequest requested(const RunRequest& request);
  CircuitPrompts scopeOf(int slot, const std::string& prompts);
  // The prompts on which a stored circuit is measured: the selected one where it was made of that, else all of the window.
  std::shared_ptr<const Dataset> promptsFor(int slot, const std::string& prompts);

 Q_SIGNALS:
  void changed();

 private:
  bool fits(int slot, const RunRecord& record) const;
  struct Known {
    std::shared_ptr<const Dataset> set, single;
    int index = -1;
    std::string all, one;
  };
  Session& session_;
  Known known_[Session::kSlots];
  QSet<QString> learned_, looked_;
};

}  // namespace microtome::desktop
