// registry.h — what the generated file includes.
#pragma once

#include "core/dictionary/kinds/kind.h"
