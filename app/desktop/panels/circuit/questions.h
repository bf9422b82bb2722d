// questions.h — what a circuit is worth on the prompts of the window, asked as a person moves the slider: one question at a time, of those
// that wait the latest alone, answers kept. In the lane "light", never in the GUI thread.
#pragma once

#include <QElapsedTimer>
#include <QObject>
#include <QString>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/desktop/panels/circuit/edge_order.h"
#include "app/desktop/session/session.h"

namespace microtome::desktop {

// The engine's, or a test's own. Called in a worker.
using MeterFactory = std::function<std::unique_ptr<app::CircuitMeter>(const app::OpenModel&, const Dataset&, const app::CircuitMeterOptions&)>;

struct CircuitQuestion {
  EdgeChoice choice;
  std::vector<std::string> knockedOut;                 // sorted
};

class CircuitQuestions : public QObject {
  Q_OBJECT
 public:
  CircuitQuestions(Session& session, QObject* parent);
  ~CircuitQuestions() override;
  // Null: the engine's.
  void setFactory(MeterFactory factory);
  // What is asked about. Other than before: answers are forgotten, the meter is made anew with the first question.
  void setSubject(const app::ModelPtr& model, const std::shared_ptr<const Dataset>& prompts, const app::CircuitMeterOptions& options,
                  const std::shared_ptr<const EdgeOrder>& order);
  void clear();
  bool hasSubject() const { return order_ != nullptr; }
  // All that is wanted now, in order; what was wanted before and has no answer is dropped. The last are asked when nothing else is: the
  // points of a curve.
  void want(const std::vector<CircuitQuestion>& questions, const std::vector<CircuitQuestion>& idle);
  const app::CircuitMeasure* answer(const CircuitQuestion& question) const;       // null: not known
  // Answers without a knock-out and with a number of edges, by the number of edges that remain.
  std::map<int64_t, double> curve() const;
  bool asking() const { return job_ != 0 && !idleJob_; }
  bool hasMeter() const { return meter_ && meter_->ready; }
  double whole() const { return meter_ ? meter_->whole : 0; }       // the metric; after the first answer
  double empty() const { return meter_ ? meter_->empty : 0; }
  QString metric() const { return meter_ ? meter_->metric : QString(); }
  const QString& problem() const { return problem_; }  // one sentence: why there are no answers

 Q_SIGNALS:
  void changed();

 private:
  // Outlives this object while a job uses it. Members are destroyed in reverse: the meter first.
  struct Meter {
    app::ModelPtr model;
    std::shared_ptr<const Dataset> prompts;
    app::CircuitMeterOptions options;
    MeterFactory make;
    std::unique_ptr<app::CircuitMeter> meter;          // worker only
    bool ready = false;                                // GUI thread only, as what follows
    double whole = 0, empty = 0;
    QString metric;
  };
  struct Answer {
    app::CircuitMeasure measure;
    double whole = 0, empty = 0;
    std::string metric;
  };
  using Key = std::pair<int64_t, std::vector<std::string>>;
  static Key keyOf(const CircuitQuestion& q) { return {q.choice.count, q.knockedOut}; }
  void pump();
  void ask(const CircuitQuestion& question, bool idle);
  Session& session_;
  MeterFactory factory_;
  std::shared_ptr<const EdgeOrder> order_;
  std::shared_ptr<Meter> meter_;
  std::map<Key, app::CircuitMeasure> answers_;
  std::vector<CircuitQuestion> wanted_, idle_;
  Key asked_;                                          // by the job that runs
  qint64 job_ = 0;
  bool idleJob_ = false;
  int ticket_ = 0;                                     // of the subject: answers about an older one are dropped
  QElapsedTimer since_;
  QString problem_;
};

}  // namespace microtome::desktop
