#include <CLI/CLI.hpp>

#include "zsync/client.hpp"
