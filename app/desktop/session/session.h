// session.h — what the open window works on: the engine, up to two models side by side, the prompts, the project file, the
// jobs, the undo stack. Panels get it and nothing else. GUI thread only; everything slow goes through post() or run().
#pragma once

#include <QHash>
#include <QObject>
#include <QPointer>
#include <QString>
#include <QStringList>
#include <QUndoStack>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "app/desktop/session/selection.h"
#include "app/engine/engine.h"
#include "core/jobs/job_queue.h"

namespace microtome::desktop {

class View;

// The type of a run's and a model's computation in the window.
constexpr const char* kDtype = "float32";

// What the prompts came from, so that a command line can repeat it.
struct PromptSource {
  enum class Kind { kNone, kTyped, kTask, kFile };
  Kind kind = Kind::kNone;
  QString task, file, templates = QStringLiteral("known");
  int count = 32;
  quint64 seed = 0;
};

// The prompts of the window, tokenised by each open model's tokenizer.
struct PromptSet {
  PromptSource source;
  Dataset text;                        // as typed, generated or read; for tasks as slot 0's tokenizer has it
  std::shared_ptr<const Dataset> bySlot[2];   // tokenised for a slot; null: no model, or `problem` says why not
  QString problem[2];                  // one sentence with the remedy; empty: fine
};

// What a panel asks to be run.
struct RunRequest {
  QString analysis;
  std::map<std::string, std::string> params;   // defaults may be left out
  int slot = 0;                        // which model
  bool onePrompt = false;              // only the selected prompt (its clean text), not the whole set
  QString text;                        // a prompt of its own instead of the window's; empty: the window's
  bool again = false;
  QString title;                       // in the job list; empty: the analysis's title
};

// A finished run as panels see it. Shared, immutable.
struct RunView {
  RunRecord record;
  AnalysisResult result;
  QString context;                     // JSON of make_context: model facts, prompts, definition
};
using RunViewPtr = std::shared_ptr<const RunView>;

class Session : public QObject {
  Q_OBJECT
 public:
  explicit Session(QObject* parent = nullptr);
  ~Session() override;                 // cancels jobs, waits, closes the project: what was committed stays

  Selection& selection() { return selection_; }
  QUndoStack& undoStack() { return undo_; }

  // ---- engine. Opened by a worker after the window is up.
  void openEngine();
  bool engineReady() const { return engine_ != nullptr; }
  const app::DeviceFacts& devices() const { return devices_; }
  const std::vector<app::AnalysisFacts>& analyses() const { return analyses_; }
  const app::AnalysisFacts* findAnalysis(const QString& name) const;
  QString device() const { return device_; }           // "cpu", "cuda:0"
  void setDevice(const QString& device);               // reopens the models there

  // ---- models
  static constexpr int kSlots = 2;
  app::ModelPtr model(int slot = 0) const { return models_[slot]; }   // null: none
  bool comparing() const { return models_[1] != nullptr; }
  // The folder may come from a drop, the menu, the command line: a wrong one gives problem() with what is missing.
  void openModel(const QString& folder, int slot = 0);
  void closeModel(int slot);
  bool opening(int slot) const { return opening_[slot]; }
  // The models that ship with the app, a project of their own, IOI prompts.
  void openDemo();
  static QString shippedModels();      // empty: not found
  QStringList recentModels() const;
  QStringList recentProjects() const;

  // ---- prompts
  const PromptSet& prompts() const { return prompts_; }
  // One pair as typed; `wrong` and `answer` may be empty. Undoable.
  void setTyped(const PromptPair& pair);
  void setTask(const PromptSource& source);            // needs a model with a tokenizer; undoable
  void setFile(const QString& path);                   // JSON lines; undoable
  // The selected prompt, tokenised for a slot; null where there is none.
  const PromptPair* currentPair(int slot = 0) const;

  // ---- project
  // There always is one: until a file is chosen, one of the app's own that is found again at the next start.
  QString projectPath() const { return project_; }
  bool projectIsUntitled() const { return untitled_; }
  QString projectName() const;
  void openProject(const QString& path);               // makes it where there is none
  void openUntitledProject();
  void saveProjectAs(const QString& path);             // copies, then goes on in the copy; refused while runs are computed
  const std::vector<RunRecord>& runs() const { return runs_; }        // newest first; refreshed after every change
  const std::vector<RunRecord>& trashedRuns() const { return trashed_; }
  const RunRecord* findRun(qint64 id) const;           // trash included
  void setNote(qint64 run, const QString& note);       // undoable
  void setViewNote(qint64 run, const QString& artifact, const QString& note);   // undoable
  QString viewNote(qint64 run, const QString& artifact) const;
  std::map<std::string, std::string> viewNotes(qint64 run) const;     // artifact → note; runs in the trash: none
  // A person's words for a feature of a stored feature set; `before`: what they were. Undoable; featureLabelChanged() follows.
  void setFeatureLabel(qint64 run, qint64 feature, const QString& before, const QString& label);
  void deleteRun(qint64 run);                          // to the project's trash; undoable
  void restoreRun(qint64 run);                         // out of it; undoable
  void emptyTrash();
  // Loads a run's result (cached); `done` is called with null and `problem` emitted when it can't be read.
  void loadRun(qint64 run, QObject* receiver, std::function<void(RunViewPtr)> done);

  // ---- work
  // Starts an analysis; returns the job's number, 0 when it can't start (problem() says why). A newer request with the
  // same `supersedes` cancels the older one. Signals runPreview, runFinished, runFailed follow.
  qint64 run(const RunRequest& request, const QString& supersedes = {});
  // The `microtome run …` line for a request.
  QString commandFor(const RunRequest& request) const;
  void cancel(qint64 job);
  std::vector<JobSnapshot> jobs() const;
  bool busy() const;                   // any analysis or opening runs

  // body(Progress&) runs in a worker (may throw Error); done runs here afterwards, unless receiver is gone. lane "cpu": several
  // at a time; "store": one at a time, in order (all reading and writing of the project); "light": one at a time too, for what a person waits for, so that a long
  // run does not hold it up. done gets a Result<T>, or a Status where body gives nothing.
  template <class F, class G>
  qint64 post(const QString& title, const QString& lane, QObject* receiver, F body, G done, const QString& supersedes = {});
  // Views on show in the panels that have been looked at, in the window's order: what a report may take. Set by the window.
  void setViewSource(std::function<std::vector<View*>()> source) { viewSource_ = std::move(source); }
  std::vector<View*> shownViews() const { return viewSource_ ? viewSource_() : std::vector<View*>{}; }
  app::Engine* engine() const { return engine_; }      // for bodies of post(); null before engineReady
  std::shared_ptr<ResultStore> store() const { return store_; }       // for bodies of post("store")

 Q_SIGNALS:
  void engineChanged();
  void deviceChanged(const QString& device);
  void modelChanged(int slot);         // opened, closed, failed
  void openingChanged(int slot);
  void promptsChanged();
  void projectChanged();
  void runsChanged();
  void featureLabelChanged(qint64 run, qint64 feature, const QString& label);
  void jobsChanged();                  // submitted, started, ended (progress is polled)
  void runStarted(qint64 job, const QString& analysis, int slot);
  void runPreview(qint64 job, const QString& analysis, int slot, std::shared_ptr<const AnalysisResult> soFar);
  void runFinished(qint64 job, const QString& analysis, int slot, RunViewPtr run);
  void runFailed(qint64 job, const QString& analysis, int slot, const QString& sentence, bool cancelled);
  // One sentence with what to do; shown as a bar. where: "model", "prompts", "project", "run", "engine", "settings".
  void problem(const QString& where, const QString& sentence);
  void notice(const QString& sentence);
  // A panel should come to the front ("patching"), e.g. from the demo or a shortcut.
  void panelWanted(const QString& panelId);
  // The form of this analysis should be shown.
  void analysisWanted(const QString& analysis);

 private:
  struct Impl;
  qint64 submit(const QString& title, const QString& lane, std::function<void(Progress&)> body,
                std::function<void(const Status&)> ended, QObject* receiver, const QString& supersedes);
  void jobEnded(qint64 job);
  void refreshRuns();
  void applyPrompts(const PromptSource& source, const Dataset& text);
  void pushPrompts(const QString& title, const PromptSource& source, Dataset text);
  void tokenise(int slot);
  void applyNote(qint64 run, const QString& note);
  void applyViewNote(qint64 run, const QString& artifact, const QString& note);
  void applyFeatureLabel(qint64 run, qint64 feature, const QString& label);
  void applyTrash(qint64 run, bool deleted);
  void takeProject(const QString& path, std::shared_ptr<ResultStore> store, bool untitled);
  void writeToStore(const QString& title, std::function<Status(ResultStore&)> body);
  std::shared_ptr<const Dataset> datasetFor(const RunRequest& request, QString* why) const;
  RunSettings settingsFor(const RunRequest& request) const;

  std::unique_ptr<Impl> impl_;
  std::function<std::vector<View*>()> viewSource_;
  Selection selection_;
  QUndoStack undo_;
  app::Engine* engine_ = nullptr;
  app::DeviceFacts devices_;
  std::vector<app::AnalysisFacts> analyses_;
  QString device_ = QStringLiteral("cpu"), project_;
  bool untitled_ = true, opening_[kSlots] = {false, false};
  app::ModelPtr models_[kSlots];
  PromptSet prompts_;
  std::shared_ptr<ResultStore> store_;
  std::vector<RunRecord> runs_, trashed_;
};

template <class F, class G>
qint64 Session::post(const QString& title, const QString& lane, QObject* receiver, F body, G done,
                     const QString& supersedes) {
  using T = std::invoke_result_t<F, Progress&>;
  if constexpr (std::is_void_v<T>) {
    return submit(title, lane, [body](Progress& p) { body(p); },
                  [done](const Status& s) { done(s); }, receiver, supersedes);
  } else {
    auto slot = std::make_shared<std::optional<T>>();
    return submit(title, lane, [body, slot](Progress& p) { slot->emplace(body(p)); },
                  [done, slot](const Status& s) {
                    if (s) done(Result<T>(std::move(**slot)));
                    else done(Result<T>(s));
                  }, receiver, supersedes);
  }
}

// A word of a shell command, quoted where it must be.
QString shellWord(const QString& word);

}  // namespace microtome::desktop
