// param_editor.h — the control for one parameter: a check box, a spin box, a field, a list. Part of ParamForm.
#pragma once

#include <QObject>
#include <functional>
#include <string>

#include "core/base/params.h"

class QWidget;

namespace microtome::desktop {

class ParamEditor : public QObject {
  Q_OBJECT
 public:
  // The control is a child of `parent`, this object of the control. A range that a spin box can't hold, an open one and one
  // over many powers of ten become a field.
  ParamEditor(const ParamSpec& spec, QWidget* parent);
  QWidget* widget() const { return widget_; }
  // As on the command line; may be no number at all while a field is being typed in.
  std::string text() const { return text_(); }
  // A value that resolve_params() accepted. Emits nothing.
  void show(const ParamValue& value);

 Q_SIGNALS:
  void edited();

 private:
  void makeCheck(const ParamSpec& spec, QWidget* parent);
  void makeChoice(const ParamSpec& spec, QWidget* parent);
  void makeInt(const ParamSpec& spec, QWidget* parent);
  void makeFloat(const ParamSpec& spec, QWidget* parent);
  void makeField(const ParamSpec& spec, QWidget* parent);
  QWidget* widget_ = nullptr;
  std::function<std::string()> text_;
  std::function<void(const ParamValue&)> show_;
};

}  // namespace microtome::desktop
