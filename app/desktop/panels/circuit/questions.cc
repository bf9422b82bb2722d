#include "app/desktop/panels/circuit/questions.h"

#include <algorithm>

#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// A question that takes longer is given up for a newer one; a shorter one is answered, so that numbers follow the slider.
constexpr qint64 kPatience = 300;      // ms
constexpr size_t kMostAnswers = 4096;

}  // namespace

CircuitQuestions::CircuitQuestions(Session& session, QObject* parent) : QObject(parent), session_(session) {}

CircuitQuestions::~CircuitQuestions() {
  if (job_ != 0) session_.cancel(job_);
}

void CircuitQuestions::setFactory(MeterFactory factory) {
  factory_ = std::move(factory);
  clear();
}

void CircuitQuestions::clear() { setSubject(nullptr, nullptr, {}, nullptr); }

void CircuitQuestions::setSubject(const app::ModelPtr& model, const std::shared_ptr<const Dataset>& prompts,
                                  const app::CircuitMeterOptions& options, const std::shared_ptr<const EdgeOrder>& order) {
  const bool sameMeter = meter_ && meter_->model == model && meter_->prompts == prompts && meter_->options.metric == options.metric &&
                         meter_->options.outside == options.outside && meter_->options.seed == options.seed;
  if (order == order_ && (sameMeter || (!meter_ && !model))) return;
  ++ticket_;
  if (job_ != 0) session_.cancel(job_);
  job_ = 0;
  wanted_.clear();
  idle_.clear();
  answers_.clear();
  problem_.clear();
  order_ = order;
  if (!sameMeter) {
    meter_.reset();
    if (model && prompts && order) {
      meter_ = std::make_shared<Meter>();
      meter_->model = model;
      meter_->prompts = prompts;
      meter_->options = options;
    }
  }
  Q_EMIT changed();
}

void CircuitQuestions::want(const std::vector<CircuitQuestion>& questions, const std::vector<CircuitQuestion>& idle) {
  if (!meter_ || !order_ || !problem_.isEmpty()) return;
  const auto unknown = [this](const std::vector<CircuitQuestion>& from) {
    std::vector<CircuitQuestion> out;
    for (const CircuitQuestion& q : from)
      if (!answers_.count(keyOf(q))) out.push_back(q);
    return out;
  };
  wanted_ = unknown(questions);
  idle_ = unknown(idle);
  if (job_ != 0 && !wanted_.empty()) {
    const bool still = std::any_of(wanted_.begin(), wanted_.end(), [this](const CircuitQuestion& q) { return keyOf(q) == asked_; });
    // The first question also makes the meter, which is worth waiting for.
    if (still) idleJob_ = false;
    else if (meter_->ready && since_.elapsed() > kPatience) session_.cancel(job_);
  }
  pump();
}

void CircuitQuestions::pump() {
  if (job_ != 0 || !meter_ || !order_ || !problem_.isEmpty()) return;
  const auto next = [this](std::vector<CircuitQuestion>& from) -> std::optional<CircuitQuestion> {
    while (!from.empty()) {
      CircuitQuestion q = from.front();
      from.erase(from.begin());
      if (!answers_.count(keyOf(q))) return q;
    }
    return std::nullopt;
  };
  if (auto q = next(wanted_)) return ask(*q, false);
  if (auto q = next(idle_)) ask(*q, true);
}

void CircuitQuestions::ask(const CircuitQuestion& question, bool idle) {
  app::Engine* engine = session_.engine();
  if (!engine) return;
  if (!meter_->make) {
    meter_->make = factory_ ? factory_ : [engine](const app::OpenModel& m, const Dataset& d, const app::CircuitMeterOptions& o) {
      return engine->circuit_meter(m, d, o);
    };
  }
  asked_ = keyOf(question);
  idleJob_ = idle;
  since_.start();
  const int ticket = ticket_;
  job_ = session_.post(
      tr("Faithfulness of %1 edges").arg(order_->edges(question.choice)), QStringLiteral("light"), this,
      [meter = meter_, order = order_, question](Progress& p) {
        p.check();
        if (!meter->meter) meter->meter = meter->make(*meter->model, *meter->prompts, meter->options);
        p.check();
        const Circuit circuit = order->chosen(question.choice);
        const std::vector<app::CircuitMeasure> found = meter->meter->measure({&circuit}, question.knockedOut, p);
        if (found.size() != 1) throw Error(StatusCode::kInternal, "the circuit was not measured", "circuit meter");
        return Answer{found.front(), meter->meter->whole(), meter->meter->empty(), meter->meter->metric()};
      },
      [this, ticket, meter = meter_, key = asked_](const Result<Answer>& given) {
        if (ticket != ticket_) return;
        job_ = 0;
        idleJob_ = false;
        if (given) {
          meter->ready = true;
          meter->whole = given.value().whole;
          meter->empty = given.value().empty;
          meter->metric = QString::fromStdString(given.value().metric);
          if (answers_.size() >= kMostAnswers) answers_.clear();
          answers_[key] = given.value().measure;
        } else if (given.status().code() != StatusCode::kCancelled) {
          problem_ = labelText(given.status().text(), 300);
          wanted_.clear();
          idle_.clear();
        }
        Q_EMIT changed();
        pump();
      });
}

const app::CircuitMeasure* CircuitQuestions::answer(const CircuitQuestion& question) const {
  const auto found = answers_.find(keyOf(question));
  return found == answers_.end() ? nullptr : &found->second;
}

std::map<int64_t, double> CircuitQuestions::curve() const {
  std::map<int64_t, double> out;
  for (const auto& [key, measure] : answers_)
    if (key.first > 0 && key.second.empty() && measure.edges > 0) out[order_->edges({key.first})] = measure.faithfulness;
  return out;
}

}  // namespace microtome::desktop
