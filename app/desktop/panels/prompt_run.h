// prompt_run.h — an analysis of the selected prompt on one model, as panels keep it on show: started when what it
// depends on has changed, replaced by a newer one, its state in words. And the place in which it stands: the model's
// name, what to do while there is nothing to see, the content.
#pragma once

#include <QElapsedTimer>
#include <QTimer>
#include <QWidget>
#include <map>
#include <string>

#include "app/desktop/panels/panel.h"
#include "app/desktop/session/session.h"

class QLabel;
class QStackedWidget;

namespace microtome::desktop {

class PromptRun : public QObject {
  Q_OBJECT
 public:
  enum class State { kNoModel, kOpening, kNoPrompt, kTokenising, kRunning, kDone, kFailed, kCancelled };

  PromptRun(Session& session, const QString& analysis, int slot, QObject* parent);
  int slot() const { return slot_; }
  State state() const { return state_; }
  // Starts the run where model, prompt, project or params are others than those of the last one; else does nothing. For
  // Panel::refresh().
  void ask(const std::map<std::string, std::string>& params);
  void again();  // after a failure or a cancellation
  void cancel();
  qint64 job() const { return job_; }
  // The last one that was finished, even while a newer one runs; null: none.
  const RunViewPtr& run() const { return run_; }
  const PromptPair& pair() const { return pair_; }  // its prompt
  const app::ModelPtr& model() const { return model_; }
  // What to do, where there is no run to show: one sentence.
  const QString& sentence() const { return sentence_; }

 Q_SIGNALS:
  void changed();

 private:
  struct Key {
    app::ModelPtr model;
    std::shared_ptr<ResultStore> store;
    QString project;
    std::vector<int64_t> ids, answers;
    std::map<std::string, std::string> params;
    bool operator==(const Key&) const = default;
  };
  void set(State state, const QString& sentence = {});
  void start();
  void forget();
  Session& session_;
  QString analysis_;
  int slot_;
  State state_ = State::kNoModel;
  Key key_;
  bool asked_ = false;
  qint64 job_ = 0;
  RunViewPtr run_;
  PromptPair pair_, wantedPair_;
  app::ModelPtr model_;
  QString sentence_;
};

// One model's half of a panel.
class PromptRunPane : public QWidget {
  Q_OBJECT
 public:
  PromptRunPane(Session& session, const QString& analysis, int slot, QWidget* parent);
  PromptRun* run() const { return run_; }
  // What is shown once there is a run; owned by the pane afterwards.
  void setContent(QWidget* content);
  // Something to be asked first, instead of the content: a button, or only the sentence when it is empty. An empty
  // headline: no more.
  void setQuestion(const QString& headline, const QString& sentence, const QString& button);
  bool showsContent() const;
  EmptyState* emptyState() const { return empty_; }
  void setNameShown(bool on);

 Q_SIGNALS:
  // Another run is there (or none any more): fill the content.
  void arrived();
  // The button of setQuestion().
  void answered();

 private:
  void follow();
  void look();
  Session& session_;
  PromptRun* run_;
  QLabel* name_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  QWidget* content_ = nullptr;
  RunViewPtr shown_;
  bool asking_ = false;
  QString headline_, sentence_, button_;
  QTimer timer_;
  QElapsedTimer waiting_;
};

}  // namespace microtome::desktop
