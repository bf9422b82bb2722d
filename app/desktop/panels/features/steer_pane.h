// steer_pane.h — what the model writes without and with a feature: a strength, a prompt, two texts beside each other.
#pragma once

#include <QWidget>
#include <memory>

#include "app/desktop/panels/panel.h"
#include "app/desktop/session/session.h"

class QDoubleSpinBox;
class QLabel;
class QLineEdit;
class QPushButton;
class QSlider;
class QSpinBox;

namespace microtome::desktop {

class JobStrip;

class SteerPane : public QWidget {
  Q_OBJECT
 public:
  SteerPane(Panel& panel, QWidget* parent);
  // feature -1: none. max: its largest activation; dictionary: where it was read from; slot: the model, -1: not open.
  void setFeature(qint64 feature, double max, const QString& dictionary, int slot);
  void setPromptIfEmpty(const QString& text);
  RunRequest request() const;
  void generate();

 private:
  void showState();
  void showTexts(const RunViewPtr& run);
  void forget();
  Panel& panel_;
  Session& session_;
  qint64 feature_ = -1, job_ = 0;
  double max_ = 0;
  QString dictionary_;
  int slot_ = -1;
  QSlider* slider_;
  QDoubleSpinBox* strength_;
  QLabel *means_, *without_, *with_, *note_, *withTitle_;
  QLineEdit* prompt_;
  QSpinBox* tokens_;
  QPushButton* generate_;
  JobStrip* strip_;
};

}  // namespace microtome::desktop
