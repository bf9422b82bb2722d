// prompt_editor.h — a pair of prompts: fields for the texts and the answers, the tokens as chips below, what is wrong with
// them in one sentence in its place. Tokens follow the typing.
#pragma once

#include <QTimer>
#include <QWidget>

#include "app/desktop/panels/prompts/prompt_check.h"
#include "app/engine/engine.h"

class QLabel;
class QLineEdit;

namespace microtome::desktop {

class AnswerEdit;
class Session;
class TokenRows;

class PromptEditor : public QWidget {
  Q_OBJECT
 public:
  // session: for jobs that cut long texts, and for the selected position.
  PromptEditor(Session& session, QWidget* parent);
  // What is in use; typed changes to another text that were not used are gone. note: a sentence of the session's about it, may be empty.
  void setPair(const PromptPair& pair, const QString& note);
  // Chips and checks follow this model's tokenizer; null: none is open.
  void setModel(const app::ModelPtr& model);
  void setEditing(bool on);            // fields shown
  bool editing() const { return editing_; }
  bool dirty() const { return dirty_; }
  // Texts as in the fields; ids are left out.
  PromptPair typed() const;
  const CheckedPrompt& checked() const { return checked_; }
  void discard();                      // back to what is in use
  // Commits what was typed, if it can be used; else the sentence says why not and false comes back.
  bool use();
  TokenRows* rows() const { return rows_; }
  QLineEdit* cleanField() const;

 Q_SIGNALS:
  void dirtyChanged(bool dirty);
  void used(const PromptPair& pair);
  void editWanted();                   // a double click on the chips

 protected:
  bool eventFilter(QObject* watched, QEvent* event) override;

 private:
  void fill();                         // the fields with what is in use
  void edited();
  void check(bool now);
  void show(CheckedPrompt checked);
  void setDirty(bool dirty);
  Session& session_;
  app::ModelPtr model_;
  PromptPair pair_;                    // in use
  QString note_;
  CheckedPrompt checked_;
  bool dirty_ = false, editing_ = true, waiting_ = false;
  int generation_ = 0;
  QTimer debounce_;
  QWidget* fields_;
  QLineEdit *clean_, *corrupted_;
  AnswerEdit *answers_, *wrong_;
  TokenRows* rows_;
  QLabel* problem_;
};

}  // namespace microtome::desktop
