// Running analyses: what is asked, the command that repeats it, what comes back.
#include <QElapsedTimer>
#include <atomic>
#include <chrono>

#include "app/desktop/session/session_impl.h"
#include "core/base/json.h"

namespace microtome::desktop {
namespace {

// Previews for the eye: twelve a second are plenty, and none may pile up before the window has drawn the last.
constexpr auto kPreviewEvery = std::chrono::milliseconds(80);

}  // namespace

std::shared_ptr<const Dataset> Session::datasetFor(const RunRequest& request, QString* why) const {
  const app::AnalysisFacts* analysis = findAnalysis(request.analysis);
  auto empty = std::make_shared<const Dataset>();
  if (analysis && analysis->info.prompts == AnalysisInfo::Prompts::kNone) return empty;
  if (!request.text.isEmpty()) {
    PromptPair pair;
    pair.clean = utf8(request.text);
    Dataset own = typed_dataset(pair);
    const app::ModelPtr& model = models_[request.slot];
    if (const Status s = microtome::tokenise(own, model->tokenizer(), BosMode::kAuto, model->facts().vocab_size, false); !s) {
      *why = sentenceOf(s);
      return nullptr;
    }
    return std::make_shared<const Dataset>(std::move(own));
  }
  const std::shared_ptr<const Dataset>& whole = prompts_.bySlot[request.slot];
  if (!whole || whole->pairs.empty()) {
    *why = prompts_.problem[request.slot].isEmpty() ? tr("There are no prompts yet: type one or load a task in Prompts.") : prompts_.problem[request.slot];
    return nullptr;
  }
  if (!request.onePrompt) return whole;
  const PromptPair* pair = currentPair(request.slot);
  if (!pair) {
    *why = tr("No prompt is selected: choose one in Prompts.");
    return nullptr;
  }
  auto one = std::make_shared<Dataset>();
  one->name = whole->name;
  one->pairs.push_back(*pair);
  return one;
}

RunSettings Session::settingsFor(const RunRequest& request) const {
  RunSettings s;
  s.analysis = utf8(request.analysis);
  s.params = request.params;
  s.device = utf8(device_);
  s.dtype = kDtype;
  s.again = request.again;
  s.seed = prompts_.source.seed;
  s.command = utf8(commandFor(request));
  Json task = {{"name", prompts_.text.name}, {"title", prompts_.text.name}, {"description", "prompts from a file"}, {"source", ""}};
  if (prompts_.source.kind == PromptSource::Kind::kTyped || !request.text.isEmpty()) {
    task["name"] = request.text.isEmpty() ? prompts_.text.name : "prompt";
    task["title"] = "A prompt";
    task["description"] = "one prompt as typed";
  } else if (const TaskInfo* t = find_task(utf8(prompts_.source.task)); t && prompts_.source.kind == PromptSource::Kind::kTask) {
    task = {{"name", t->name}, {"title", t->title}, {"description", t->description}, {"source", t->source}, {"metric", t->metric}};
  }
  s.task_json = task.dump(-1, ' ', false, Json::error_handler_t::replace);
  return s;
}

QString Session::commandFor(const RunRequest& request) const {
  QStringList words = {QStringLiteral("microtome"), QStringLiteral("run"), request.analysis};
  const app::ModelPtr& m = models_[request.slot];
  words << QStringLiteral("--model") << (m ? shellWord(qstr(m->facts().folder)) : QStringLiteral("MODEL"));
  const app::AnalysisFacts* analysis = findAnalysis(request.analysis);
  const bool needsPrompts = !analysis || analysis->info.prompts != AnalysisInfo::Prompts::kNone;
  const PromptSource& source = prompts_.source;
  if (needsPrompts && !request.text.isEmpty()) {
    words << QStringLiteral("--prompt") << shellWord(request.text);
  } else if (needsPrompts && source.kind == PromptSource::Kind::kTyped && !prompts_.text.pairs.empty()) {
    const PromptPair& pair = prompts_.text.pairs.front();
    words << QStringLiteral("--prompt") << shellWord(qstr(pair.clean));
    if (!pair.corrupted.empty()) words << QStringLiteral("--corrupted") << shellWord(qstr(pair.corrupted));
    for (const std::string& a : pair.answers) words << QStringLiteral("--answer") << shellWord(qstr(a));
    for (const std::string& a : pair.wrong_answers) words << QStringLiteral("--wrong") << shellWord(qstr(a));
  } else if (needsPrompts && source.kind != PromptSource::Kind::kNone) {
    if (source.kind == PromptSource::Kind::kTask) {
      words << QStringLiteral("--task") << source.task << QStringLiteral("--prompts") << QString::number(source.count);
      if (source.templates != QLatin1String("known")) words << QStringLiteral("--templates") << source.templates;
    } else {
      words << QStringLiteral("--dataset") << shellWord(source.file);
    }
    if (request.onePrompt) words << QStringLiteral("--only") << QString::number(selection_.prompt() + 1);
  }
  for (const auto& [name, value] : request.params) {
    QString flag = QStringLiteral("--") + qstr(name);
    words << flag.replace(QLatin1Char('_'), QLatin1Char('-')) << shellWord(qstr(value));
  }
  if (source.seed) words << QStringLiteral("--seed") << QString::number(source.seed);
  if (!device_.isEmpty() && device_ != QLatin1String("cpu")) words << QStringLiteral("--device") << device_;
  if (!untitled_ && !project_.isEmpty()) words << QStringLiteral("--project") << shellWord(project_);
  return words.join(QLatin1Char(' '));
}

qint64 Session::run(const RunRequest& request, const QString& supersedes) {
  const auto refuse = [&](const QString& sentence) {
    Q_EMIT problem(QStringLiteral("run"), sentence);
    return qint64{0};
  };
  if (!engine_) return refuse(tr("The core is still being opened: try again in a moment."));
  if (request.slot < 0 || request.slot >= kSlots || !models_[request.slot]) return refuse(tr("No model is open: open a model folder, or try the demo."));
  const app::AnalysisFacts* analysis = findAnalysis(request.analysis);
  if (!analysis) return refuse(tr("There is no analysis '%1'.").arg(request.analysis));
  QString why;
  const std::shared_ptr<const Dataset> dataset = datasetFor(request, &why);
  if (!dataset) return refuse(why);
  if (auto params = resolve_params(analysis->schema, request.params); !params) return refuse(sentenceOf(params.status()));

  const app::ModelPtr model = models_[request.slot];
  const RunSettings settings = settingsFor(request);
  app::Engine* engine = engine_;
  const std::shared_ptr<ResultStore> store = store_;
  const QString name = request.analysis;
  const int slot = request.slot;
  auto number = std::make_shared<std::atomic<qint64>>(0);
  QPointer<Session> self(this);
  QString title = request.title.isEmpty() ? qstr(analysis->info.title) : request.title;
  title += QStringLiteral(" · ") + qstr(model->facts().name);
  ++impl_->running;

  auto waiting = std::make_shared<std::atomic<bool>>(false);   // a preview the window has not drawn yet
  auto last = std::make_shared<std::chrono::steady_clock::time_point>();
  // The job ends before the session does (its destructor waits), so `this` is good in the body.
  const qint64 id = post(title, device_.startsWith(QLatin1String("cuda")) ? device_ : QStringLiteral("cpu"), this,
      [=, this](Progress& progress) {
        app::PreviewFn preview = [=, this](const AnalysisResult& soFar) {
          const auto now = std::chrono::steady_clock::now();
          if (waiting->load() || now - *last < kPreviewEvery) return;
          *last = now;
          waiting->store(true);
          auto shown = std::make_shared<const AnalysisResult>(soFar);
          QMetaObject::invokeMethod(this, [=, this] {
            waiting->store(false);
            Q_EMIT runPreview(number->load(), name, slot, shown);
          }, Qt::QueuedConnection);
        };
        RunOutcome o = engine->run(*model, *dataset, settings, store.get(), progress, preview);
        auto out = std::make_shared<RunView>();
        out->record = o.record;
        if (o.record.id == 0) {
          out->record.spec = o.spec;
          out->record.analysis = o.spec.analysis;
          out->record.key_hash = o.key.hash;
          out->record.model_name = o.spec.model_name;
          out->record.command = o.spec.command;
          out->record.state = RunStatus::kDone;
        }
        out->result = std::move(o.result);
        out->context = qstr(o.context_json);
        return RunViewPtr(out);
      },
      [this, name, slot, number, store](const Result<RunViewPtr>& run) {
        --impl_->running;
        if (run) {
          if (store == store_) impl_->keep(run.value());
          Q_EMIT runFinished(number->load(), name, slot, run.value());
        } else {
          const bool cancelled = run.status().code() == StatusCode::kCancelled;
          Q_EMIT runFailed(number->load(), name, slot, cancelled ? tr("Cancelled: what was computed is kept, the same run goes on from there.") : sentenceOf(run.status()), cancelled);
        }
        if (store == store_) refreshRuns();
      }, supersedes);
  number->store(id);
  Q_EMIT runStarted(id, name, slot);
  Q_EMIT jobsChanged();
  return id;
}

}  // namespace microtome::desktop
