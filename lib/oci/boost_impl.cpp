// The parts of Boost.Asio and Beast that are not templates, compiled once for all who link
// ou_boost_impl.
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
